// A model's files, opened for the native executor.
#pragma once

#include "native/pages.h"
#include "native/weights.h"

namespace revenant {

// Owns the mapped files that the weights point into; may be moved, not copied.
struct Network {
  Config config;
  Weights<Weight> weights;
  std::vector<std::string> warnings;  // what a careful reader of the files would want to know
  ModelFiles files;

  // What keys and values are cached in: `wanted`, else f16 under 16-bit and quantised weights, f32
  // under f32 weights. Ghosts of values take 8 bits where that cannot be told from the rounding of
  // what they are made of, the anchor's values (docs/phantom.md).
  CacheTypes cache_types(std::optional<Format> wanted = {}) const;

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
