#include "model/rope.h"

#include <cmath>

namespace revenant {
namespace {

// base^(2i/d) in float32 throughout, like `base ** (arange(0, d, 2).float() / d)`.
std::vector<float> frequencies(double base, int head_dim) {
  std::vector<float> inv_freq(size_t(head_dim / 2));
  for (int i = 0; i < head_dim / 2; ++i)
    inv_freq[size_t(i)] = 1.0f / std::pow(float(base), float(2 * i) / float(head_dim));
  return inv_freq;
}

}  // namespace

int rope_rule_key(const RopeConfig& rope, int length) {
  switch (rope.kind) {
    case RopeConfig::dynamic:
      return length > rope.max_position ? length : 0;
    case RopeConfig::su:
      return length > rope.original_max_position ? 1 : 0;
    default:
      return 0;
  }
}

int rope_reach(const RopeConfig& rope) {
  return rope.kind == RopeConfig::dynamic ? 0 : rope.max_position;
}

RopeRule rope_rule(const RopeConfig& rope, int head_dim, int length) {
  RopeRule rule;
  double base = rope.theta;
  if (rope.kind == RopeConfig::dynamic && length > rope.max_position) {
    const double stretch = rope.factor * length / rope.max_position - (rope.factor - 1);
    base *= std::pow(stretch, double(head_dim) / (head_dim - 2));
  }
  rule.inv_freq = frequencies(base, head_dim);
  if (rope.kind == RopeConfig::su) {
    const auto& factors =
        length > rope.original_max_position ? rope.long_factors : rope.short_factors;
    for (size_t i = 0; i < rule.inv_freq.size(); ++i)
      rule.inv_freq[i] =
          1.0f / (float(factors[i]) * std::pow(float(base), float(2 * i) / float(head_dim)));
    const double scale = double(rope.max_position) / rope.original_max_position;
    if (rope.attention_factor > 0)
      rule.factor = float(rope.attention_factor);
    else if (scale > 1)
      rule.factor = float(std::sqrt(1 + std::log(scale) / std::log(rope.original_max_position)));
  }
  return rule;
}

RopeRows rope_rows(const RopeConfig& rope, int head_dim, const Step& step) {
  const size_t half = size_t(head_dim / 2);
  RopeRows rows;
  rows.cos.resize(size_t(step.rows) * half);
  rows.sin.resize(size_t(step.rows) * half);
  for (const Span& span : step.spans) {
    RopeRule rule = rope_rule(rope, head_dim, span.rope_length);
    for (int r = 0; r < span.rows; ++r) {
      const int position = span.start + r;
      if (r >= span.rows - span.generated) rule = rope_rule(rope, head_dim, position + 1);
      for (size_t i = 0; i < half; ++i) {
        const float angle = float(position) * rule.inv_freq[i];
        const size_t at = size_t(span.first_row + r) * half + i;
        rows.cos[at] = std::cos(angle) * rule.factor;
        rows.sin[at] = std::sin(angle) * rule.factor;
      }
    }
  }
  return rows;
}

}  // namespace revenant
