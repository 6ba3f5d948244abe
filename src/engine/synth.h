// Checkpoints of the released shapes, names and files with seeded random weights: to try sizes,
// speed and memory without the published weights.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/file.h"
#include "model/released.h"

namespace revenant {

struct SynthOptions {
  DType dtype = DType::bf16;  // or f16, f32
  uint64_t seed = 1;
  int threads = 0;                     // 0: as many as the machine runs at once
  std::vector<std::string> settings;   // "key=value" over config.json, to write a smaller one
  Path tokenizer;                      // its files are copied; empty: made-up pieces
  std::optional<uint64_t> free_bytes;  // instead of what the file system says
  std::function<void(uint64_t done, uint64_t total)> on_progress;  // bytes
};

// Writes `directory`, which must not exist or be empty, a tensor at a time. Weights depend on the
// seed and the tensor's name only. Throws Error, before anything is written if there is no room;
// after a failure nothing is left behind.
void synth(const Path& directory, const Released& model, const SynthOptions& options);

}  // namespace revenant
