// Which linear layers the released loaders quantise on loading, model by model.
#pragma once

#include <string_view>
#include <vector>

namespace revenant {

struct ReleasedQuantization {
  std::string_view model;              // "phantom-0.5b"
  int bits;                            // 8: LLM.int8, 4: NF4 with double quantisation
  std::vector<std::string_view> skip;  // a layer whose name contains one of these is kept
};

// The seven released models.
const std::vector<ReleasedQuantization>& released_quantizations();
const ReleasedQuantization& released_quantization(std::string_view model);  // throws Error

// `layer` is the name of a linear layer, in the checkpoint's names and without ".weight".
bool is_converted(const ReleasedQuantization& rule, std::string_view layer);

}  // namespace revenant
