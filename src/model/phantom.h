// Phantom (arXiv 2409.14713, eq. 1 to 3; the released utils/utils.py, XAttention): for the length
// of one attention every head gets a ghost half, made from the heads of the sequence's first row.
// docs/phantom.md has the formulas and where the released code differs from the paper.
#pragma once

#include "model/verbs.h"

namespace revenant {

// What a mixer's queries look at in rows x, [.., heads, d].
template <class E, class M, class X>
Seen<X> seen_in(E& e, const Mixer<M>& m, const X& x) {
  return {e.gelu(e.linear(m.k, x)), e.gelu(e.linear(m.v, x))};
}

// It depends on a sequence's first row alone, so a row that is generated computes none of it.
template <class E, class M, class X, class Eta>
Anchors<X> anchors_of(E& e, const PhantomConfig& c, const PhantomWeights<M>& w, const Qkv<X>& a,
                      const Eta& eta, int head_dim, const Step& step, Site site) {
  const auto seen = [&](const Qkv<X>& first) {
    return Anchors<X>{seen_in(e, w.mix_q, first.q), seen_in(e, w.mix_k, first.k),
                      seen_in(e, w.mix_v, first.v)};
  };
  if (c.anchor == AnchorOf::first) return e.anchor(site, a, w, eta, step, seen);
  const auto learned = [&](const M& of) { return e.heads(e.each(of, step), head_dim); };
  return seen({learned(w.anchor_q), learned(w.anchor_k), learned(w.anchor_v)});
}

// Every head of a row looks at the heads of its sequence's anchor, or at the row's own ones.
// Unscaled: eta enters in attend.
template <class E, class M, class X, class Eta>
Haunted<X> haunt(E& e, const Config& c, const PhantomWeights<M>& w, const Qkv<X>& a, const Eta& eta,
                 const Step& step, Site site) {
  const bool own = c.phantom.anchor == AnchorOf::own;
  const Anchors<X> anchors =
      own ? Anchors<X>{} : anchors_of(e, c.phantom, w, a, eta, c.head_dim, step, site);
  const auto ghost = [&](Note name, const Mixer<M>& m, const X& x, const Seen<X>& seen,
                         const std::vector<bool>* quiet) {
    return e.note(site, name, e.mix(m, x, own ? nullptr : &seen, quiet, step));
  };
  const std::vector<bool>* quiet =
      c.phantom.widen && !anchors.quiet.empty() ? &anchors.quiet : nullptr;
  const Qkv<X> y = {ghost(Note::q_ghost, w.mix_q, a.q, anchors.q, quiet),
                    ghost(Note::k_ghost, w.mix_k, a.k, anchors.k, quiet),
                    ghost(Note::v_ghost, w.mix_v, a.v, anchors.v, nullptr)};
  if (c.phantom.widen) return {a, y, true};
  const auto scale = float(c.phantom.eta);
  return {{e.add(a.q, e.affine(y.q, scale, 0)), e.add(a.k, e.affine(y.k, scale, 0)), a.v},
          {e.affine(y.q, 0, 0), e.affine(y.k, 0, 0), y.v},
          true};
}

// The two halves, gated. The released code's exp/(exp+exp) overflows where this sigmoid does not.
template <class E, class M, class X>
X blend(E& e, const PhantomConfig& c, const PhantomWeights<M>& w, const Halves<X>& o, Site site) {
  if (c.mixing != PhantomMixing::gated)
    return e.affine(e.add(o.plain, o.ghost), c.mixing == PhantomMixing::mean ? 0.5f : 1.0f, 0);
  const X gate = e.gate_of(w.gate1, o.plain, w.gate2, o.ghost);
  return e.lerp(o.ghost, o.plain, e.note(site, Note::gate, gate));
}

}  // namespace revenant
