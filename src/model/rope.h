// Rotary position embedding: the angles, by the released rules (papers.md 3.2; conformance README,
// "Rotary scaling"). The rule depends on the sequence's length, so tables are made per length
// class.
#pragma once

#include <vector>

#include "model/config.h"
#include "model/step.h"

namespace revenant {

// inv_freq [head_dim / 2] in float32, as the reference computes it, and the factor on cos and sin.
struct RopeRule {
  std::vector<float> inv_freq;
  float factor = 1;
};
RopeRule rope_rule(const RopeConfig& rope, int head_dim, int length);

// Two lengths with the same key have the same rule: cached rotations may be reused between them.
int rope_rule_key(const RopeConfig& rope, int length);

// The longest sequence that the rule is meant for; 0: any.
int rope_reach(const RopeConfig& rope);

// cos and sin for every row of a step, [rows, head_dim / 2], factor included.
struct RopeRows {
  std::vector<float> cos, sin;
};
RopeRows rope_rows(const RopeConfig& rope, int head_dim, const Step& step);

}  // namespace revenant
