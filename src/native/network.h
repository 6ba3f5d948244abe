// A model's files, opened for the native executor.
#pragma once

#include "native/weights.h"

namespace revenant {

// Owns the mapped files that the weights point into; may be moved, not copied.
struct Network {
  Config config;
  Weights<Weight> weights;
  std::vector<std::string> warnings;  // what a careful reader of the files would want to know
  ModelFiles files;

  // What keys and values are cached in unless someone says otherwise: f16 under 16-bit and
  // quantised weights, f32 under f32 weights.
  WeightType cache_type() const {
    return weights.layers.front().mlp.up.weight.packed.format == Format::f32 ? WeightType::f32
                                                                             : WeightType::f16;
  }

  // A directory or a GGUF file. `settings` are "key=value" over config.json; `wanted` is
  // load_weights'. Throws Error.
  static Network open(const Path& path, const std::vector<std::string>& settings = {},
                      const std::optional<QuantizeType>& wanted = {});
  Network(Network&&) = default;
  Network(const Network&) = delete;

 private:
  Network() = default;
};

}  // namespace revenant
