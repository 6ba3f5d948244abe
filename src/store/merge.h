// A model and an adapter of it as one model: W + scale B A in the place of W.
#pragma once

#include <functional>
#include <optional>

#include "base/dtype.h"
#include "base/file.h"

namespace revenant {

struct MergeOptions {
  std::optional<DType> dtype;  // of all floating weights; else each as the base stores it
  int threads = 0;             // 0: as many as the machine has
  std::function<void(uint64_t done, uint64_t total)> on_progress;  // bytes
};

// Writes a Hugging Face directory, without a tokenizer. The configuration is the adapter's own
// where it brings one. Sums are float32. Throws Error that names file and tensor, unless base and
// adapter fit.
void merge_adapter(const Path& base, const Path& adapter, const Path& output,
                   const MergeOptions& options = {});

}  // namespace revenant
