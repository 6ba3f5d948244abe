// Small models of any shape and mechanism with random weights, for tests that need no goldens.
#pragma once

#include <cmath>

#include "base/random.h"
#include "native/forward.h"
#include "native/weights.h"

namespace revenant {

struct RandomShape {
  int hidden = 72, intermediate = 108, layers = 2, heads = 6, kv_heads = 2, head_dim = 12;
  int vocab = 50;
  bool phantom = true, trol = false;
  int lora_rank = 0;
};

inline Config random_config(const RandomShape& s) {
  Config c;
  c.architecture = "test";
  c.vocab = c.embedding_rows = s.vocab;
  c.hidden = s.hidden;
  c.intermediate = s.intermediate;
  c.layers = s.layers;
  c.heads = s.heads;
  c.kv_heads = s.kv_heads;
  c.head_dim = s.head_dim;
  c.qkv_bias = true;
  c.image_lora_rank = s.lora_rank;
  c.vision = {Tower::intern_vit, 24, 40, 2, 2, 14, 56, 1e-6};
  c.phantom.on = s.phantom;
  c.phantom.eta = 0.1;  // loud: at 1e-4 a missing ghost would hide in rounding
  c.trol.on = s.trol;
  c.image_token = s.vocab - 1;
  return c;
}

// Each handle owns its numbers.
inline Weights<Weight> random_weights(const Config& config, uint64_t seed) {
  Random random(seed);
  return bind<Weight>(config, [&](const TensorSpec& spec) {
    const int rows = int(spec.shape[0]), columns = spec.shape.size() > 1 ? int(spec.shape[1]) : 1;
    const double spread =
        spec.role == Role::mixer ? 4 / std::sqrt(double(columns)) : 1 / std::sqrt(double(columns));
    auto values = std::make_shared<std::vector<float>>();
    for (int64_t i = 0; i < TensorSpec::count(spec.shape); ++i)
      values->push_back(
          float(spec.role == Role::norm ? 1 + 0.1 * random.normal() : spread * random.normal()));
    Weight m;
    if (spec.shape.size() > 1 && spec.role != Role::position)
      m.packed = {Format::f32,
                  rows,
                  columns,
                  {0, rows, 0},
                  reinterpret_cast<const std::byte*>(values->data()),
                  values};
    else
      m.vector = {rows, columns, values};
    return m;
  });
}

}  // namespace revenant
