// What each weight of a model becomes when it is quantised: one rule for the files that are
// written and for directories that are quantised while they are read.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

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

// Of a tower's products: in Q8_0 their outputs may have one scale each (per channel), so that they
// meet rows of one scale (kernels/kernels.h).
bool may_be_per_channel(const TensorSpec& spec);
// Names, in a file, those that do.
constexpr const char* per_channel_key = "revenant.per_channel.tensors";

}  // namespace revenant
