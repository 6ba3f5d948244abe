// TroL (arXiv 2406.12246, section 3): prompt rows pass every layer twice, a gate on the first
// pass's output mixes the two token by token; generated rows pass once. Further passes and other
// rows are the paper's experiments (tables 8 to 10). docs/trol.md has the reasons.
#pragma once

#include "model/verbs.h"

namespace revenant {

// `once_more(x, site)` is the layer. Pass 1's keys and values are what generation attends to; each
// later pass has its own stream, kept while rows that traverse may follow.
template <class E, class M, class X, class Layer>
X traverse(E& e, const Config& c, const LayerWeights<M>& w, const X& x, const Step& step,
           Layer once_more) {
  X mixed = once_more(x, Site{w.index, 1});
  if (!traverses(c.trol, step)) return mixed;
  e.note({w.index, 1}, Note::pass1, mixed);
  for (int pass = 2; pass <= c.trol.passes; ++pass) {
    const X gate = e.gate_prompt(e.affine(e.tanh(e.linear(w.trol_gate, mixed)), 0.5f, 0.5f), step);
    const X again = e.note({w.index, pass}, Note::pass2, once_more(mixed, Site{w.index, pass}));
    mixed = e.lerp(mixed, again, e.note({w.index, pass}, Note::trol_gate, gate));
  }
  return mixed;
}

}  // namespace revenant
