// The language model: pre-norm layers with grouped-query attention and SwiGLU, either mechanism or
// both switched on by the configuration. Shapes: x [R, hidden], R the rows of the step.
#pragma once

#include "model/phantom.h"
#include "model/trol.h"
#include "model/verbs.h"

namespace revenant {

template <class E, class M, class X>
X attention(E& e, const Config& c, const AttentionWeights<M>& w, const X& x, const Step& step,
            Site site) {
  const Qkv<X> flat = e.qkv(w, x, c.head_dim, &step);
  const Qkv<X> a = {e.note(site, Note::q, e.rope(flat.q, step)),
                    e.note(site, Note::k, e.rope(flat.k, step)), e.note(site, Note::v, flat.v)};
  const Haunted<X> haunted =
      c.phantom.on ? haunt(e, c, w.phantom, a, step, site) : Haunted<X>{a, {}, false};
  const auto eta = e.eta(w.phantom.eta, c.phantom.eta);
  const Halves<X> o = e.attend(site, haunted, step, eta);
  if (!c.phantom.on) return e.note(site, Note::attn_output, e.linear(w.o, e.join(o.plain), &step));
  e.note(site, Note::o1, o.plain);
  e.note(site, Note::o2, o.ghost);
  return e.note(site, Note::attn_output,
                e.linear(w.o, e.join(blend(e, c.phantom, w.phantom, o, site)), &step));
}

template <class E, class M, class X>
X layer(E& e, const Config& c, const LayerWeights<M>& w, const X& x, const Step& step, Site site) {
  const X y = e.add(x, attention(e, c, w.attention, e.rms_norm(x, w.attn_norm), step, site));
  return e.add(y, e.swiglu(w.mlp, e.rms_norm(y, w.mlp_norm), step));
}

// Through all layers and the final norm.
template <class E, class M, class X>
X decode(E& e, const Config& c, const Weights<M>& w, X x, const Step& step) {
  for (const LayerWeights<M>& l : w.layers) {
    x = traverse(e, c, l, x, step, [&](const X& input, const Step& rows, Site site) {
      return segment(e, site, l, input, [&c, &rows, site](E& some, const auto& w, const X& y) {
        return layer(some, c, w, y, rows, site);
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
