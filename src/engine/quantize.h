// One file from a model directory: weights in a quantised format, in the kernels' own order unless
// it is to be portable, configuration, tokenizer and TroL's gate inside (docs/gguf.md).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/file.h"
#include "store/quantize_type.h"

namespace revenant {

struct QuantizeOptions {
  std::vector<std::string> settings = {};  // "key=value" over config.json; the file has them
  bool portable = false;                   // rows of blocks as ggml lays them out, not panels
  int threads = 0;                         // 0: as many as the machine runs at once
  std::function<void(uint64_t done, uint64_t total)> on_progress = {};  // bytes of the directory
  Path importance = {};                 // store/importance.h; weighs the errors; empty: nothing
  std::vector<std::string> match = {};  // shell patterns over canonical names: what alone is
                                        // quantised, the rest stays as stored; empty: all
  bool per_channel = true;  // the tower's Q8_0, where its features bear it (engine/channels.h)
};

// Writes `file` atomically, some rows of one tensor at a time in memory. Throws Error.
void quantize(const Path& directory, const Path& file, const QuantizeType& type,
              const QuantizeOptions& options = {});

}  // namespace revenant
