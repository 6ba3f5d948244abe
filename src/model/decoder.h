// The language model: pre-norm layers with grouped-query attention and SwiGLU, either mechanism or
// both switched on by the configuration. Shapes: x [R, hidden], R the rows of the step.
#pragma once

#include "model/phantom.h"
#include "model/trol.h"
#include "model/verbs.h"

namespace revenant {

// What the rows of `part` (null: all) see in the rows of the step and before.
template <class E, class M, class X>
Halves<X> attention(E& e, const Config& c, const AttentionWeights<M>& w, const X& x,
                    const Step& step, Site site, const typename E::Part* part) {
  const Qkv<X> flat = e.qkv(w, x, c.head_dim, &step);
  const Qkv<X> a = {e.note(site, Note::q, e.rope(flat.q, step)),
                    e.note(site, Note::k, e.rope(flat.k, step)), e.note(site, Note::v, flat.v)};
  const auto eta = e.eta(w.phantom.eta, c.phantom.eta);
  const Haunted<X> haunted =
      c.phantom.on ? haunt(e, c, w.phantom, a, eta, step, site) : Haunted<X>{a, {}, false};
  return e.attend(site, haunted, step, eta, part);
}

// A layer's second half: of x and what its rows saw.
template <class E, class M, class X>
X digest(E& e, const Config& c, const LayerWeights<M>& w, const X& x, const Halves<X>& o,
         const Step& step, Site site) {
  if (c.phantom.on) {
    e.note(site, Note::o1, o.plain);
    e.note(site, Note::o2, o.ghost);
  }
  const X seen = c.phantom.on ? blend(e, c.phantom, w.attention.phantom, o, site) : o.plain;
  const X y =
      e.add(x, e.note(site, Note::attn_output, e.linear(w.attention.o, e.join(seen), &step)));
  return e.add(y, e.swiglu(w.mlp, e.rms_norm(y, w.mlp_norm), step));
}

// Of a part the outputs are its rows; keys and values are made of all.
template <class E, class M, class X>
X layer(E& e, const Config& c, const LayerWeights<M>& w, const X& x, const Step& step, Site site,
        const typename E::Part* part = nullptr) {
  const Halves<X> o = attention(e, c, w.attention, e.rms_norm(x, w.attn_norm), step, site, part);
  if (!part) return digest(e, c, w, x, o, step, site);
  return e.within(*part, [&](const Step& some) {
    return digest(e, c, w, e.take(x, part->rows), o, some, site);
  });
}

// Through all layers and the final norm; of the rows that are asked for.
template <class E, class M, class X>
X decode(E& e, const Config& c, const Weights<M>& w, X x, const Step& step) {
  for (const LayerWeights<M>& l : w.layers) {
    const bool last = &l == &w.layers.back();
    x = traverse(e, c, l, x, step, last,
                 [&](const X& input, const Step& rows, Site site, const auto* part) {
                   return segment(e, site, l, input,
                                  [&c, &rows, site, part](E& some, const auto& w, const X& y) {
                                    return layer(some, c, w, y, rows, site, part);
                                  });
                 });
    x = e.note({l.index, 1}, Note::output, x);
  }
  return e.rms_norm(x, w.output_norm);
}

// Token embeddings with the tower's features in place of the picture tokens; `features` may be
// null.
template <class E, class M, class Ids, class X>
X embed_prompt(E& e, const Weights<M>& w, const Ids& ids, const X* features, const Step& step) {
  const X x = e.embed(w.embedding, ids);
  return features ? e.place(x, *features, step) : x;
}

}  // namespace revenant
