// TroL (arXiv 2406.12246, section 3): prompt rows pass every layer twice, a gate on the first
// pass's output mixes the two token by token; generated rows pass once. Further passes and other
// rows are the paper's experiments (tables 8 to 10). docs/trol.md has the reasons.
#pragma once

#include "model/verbs.h"

namespace revenant {

// What of the second pass a row takes, [R, 1].
template <class E, class M, class X>
X mixing_gate(E& e, TrolMixing mixing, const Linear<M>& w, const X& x) {
  switch (mixing) {
    case TrolMixing::gated:
      return e.affine(e.tanh(e.linear(w, x)), 0.5f, 0.5f);
    case TrolMixing::constant:  // of the bias alone
      return e.affine(e.tanh(e.linear(w, e.affine(x, 0, 0))), 0.5f, 0.5f);
    case TrolMixing::uniform:
      return e.affine(e.linear(w, x), 0, 0.5f);
    case TrolMixing::second:
      break;
  }
  return e.affine(e.linear(w, x), 0, 1);
}

// `layer(x, step, site, part)` is the layer, from attention on of a part's rows if there is one.
// Pass 1's keys and values are what generation attends to; each later pass has its own stream, kept
// while rows that traverse may follow. Of the last layer the rows that are asked for come out.
template <class E, class M, class X, class Layer>
X traverse(E& e, const Config& c, const LayerWeights<M>& w, const X& x, const Step& step, bool last,
           Layer layer) {
  const typename E::Part *all = nullptr, *asked = last ? e.asked(step) : nullptr;
  if (!traverses(c.trol, step)) return layer(x, step, Site{w.index, 1}, asked);
  const X once = layer(x, step, Site{w.index, 1}, all);
  e.note({w.index, 1}, Note::pass1, once);
  const X mixture = e.again(once, step, [&](X mixed, const Step& some) {
    for (int pass = 2; pass <= c.trol.passes; ++pass) {
      const Site site{w.index, pass};
      X gate = e.gate_prompt(mixing_gate(e, c.trol.mixing, w.trol_gate, mixed), some);
      if (c.trol.threshold > 0) gate = e.at_least(gate, float(c.trol.threshold));
      e.note(site, Note::trol_gate, gate);
      mixed = e.lerp_where(mixed, gate, some, last && pass == c.trol.passes, [&](const auto* part) {
        return e.note(site, Note::pass2, layer(mixed, some, site, part));
      });
    }
    return mixed;
  });
  return asked ? e.take(mixture, asked->rows) : mixture;
}

}  // namespace revenant
