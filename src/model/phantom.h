// Phantom (arXiv 2409.14713, eq. 1 to 3; the released utils/utils.py, XAttention): for the length
// of one attention every head gets a ghost half, made from the heads of the sequence's first row.
// docs/phantom.md has the formulas and where the released code differs from the paper.
#pragma once

#include "model/verbs.h"

namespace revenant {

// Every head of a row looks at the heads of its sequence's first row. Unscaled: eta enters in
// attend.
template <class E, class M, class X>
X mix(E& e, const Mixer<M>& m, const X& x, const X& first, const Step& step) {
  return e.gelu(e.linear(m.o, e.attend_heads(e.gelu(e.linear(m.q, x)), e.gelu(e.linear(m.k, first)),
                                             e.gelu(e.linear(m.v, first)), step)));
}

template <class E, class M, class X>
Haunted<X> haunt(E& e, const PhantomWeights<M>& w, const Qkv<X>& a, const Step& step, Site site) {
  const Qkv<X> first = e.anchor(site, a, step);
  return {a,
          {e.note(site, Note::q_ghost, mix(e, w.mix_q, a.q, first.q, step)),
           e.note(site, Note::k_ghost, mix(e, w.mix_k, a.k, first.k, step)),
           e.note(site, Note::v_ghost, mix(e, w.mix_v, a.v, first.v, step))},
          true};
}

// The two halves, gated. The released code's exp/(exp+exp) overflows where this sigmoid does not.
template <class E, class M, class X>
X blend(E& e, const PhantomWeights<M>& w, const Halves<X>& o, Site site) {
  const X gate = e.sigmoid(e.sub(e.linear(w.gate1, o.plain), e.linear(w.gate2, o.ghost)));
  return e.lerp(o.ghost, o.plain, e.note(site, Note::gate, gate));
}

}  // namespace revenant
