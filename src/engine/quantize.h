// One file from a model directory: weights in a quantised format, configuration, tokenizer and
// TroL's gate inside (docs/gguf.md).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "model/weights.h"
#include "quant/format.h"

namespace revenant {

// What the tensors of a file become. `most` is the format of the linear layers' bulk; a mixture
// ("Q4_K_M") gives more bits to some of the layers, as llama.cpp's of that name does.
struct QuantizeType {
  const char* name;  // as llama.cpp writes it
  Format most;
  bool mixed;
  uint32_t file_type;  // general.file_type
};
std::span<const QuantizeType> quantize_types();
const QuantizeType& quantize_type(std::string_view name);  // in any case; throws Error

// The format of one weight whose checkpoint has it in `stored`:
//   norms, biases, scales, positions           F32
//   mixers, gates                              as stored, never fewer bits
//   tower, projector, image-only LoRA          at least Q8_0; patch embedding as stored
//   the output matrix (also where it is the embedding)   at least Q6_K
//   all others                                 the type's, or its next larger that fits the rows
Format format_for(const QuantizeType& type, const Config& config, const TensorSpec& spec,
                  Format stored);

struct QuantizeOptions {
  std::vector<std::string> settings = {};  // "key=value" over config.json; the file has them
  int threads = 0;                         // 0: as many as the machine runs at once
  std::function<void(uint64_t done, uint64_t total)> on_progress = {};  // bytes of the directory
};

// Writes `file` atomically, some rows of one tensor at a time in memory. Throws Error.
void quantize(const Path& directory, const Path& file, const QuantizeType& type,
              const QuantizeOptions& options = {});

}  // namespace revenant
