// Which matrices of a model lie in 8 or 4 bits while what stands beside them trains (QLoRA,
// Dettmers et al. 2023, arXiv 2305.14314), and the word that bitsandbytes' users have for it:
// `quantization_config` of a config.json.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "model/weights.h"

namespace revenant {

struct QuantizedBase {
  enum class Kind { int8, nf4 } kind = Kind::nf4;  // LLM.int8's rows; NF4 with double quantisation
  std::set<std::string> matrices;                  // names in the checkpoint
};

const char* name_of(QuantizedBase::Kind kind);  // "int8", "nf4"

// The matrices of the language model's and the tower's layers, as the papers train over.
QuantizedBase paper_base(const Config& config, QuantizedBase::Kind kind);

// What the released loader of the model's kind converts (quant/released.h). Throws Error where
// there is none.
QuantizedBase released_base(const Config& config);

// Modules that stay as they are are listed by their names.
nlohmann::json quantization_config(const QuantizedBase& base, const Config& config);

// Of such a value. Throws Error, naming `file`, where it means something else.
QuantizedBase quantized_base(const nlohmann::json& json, const Config& config,
                             const std::string& file);

// What is left of a matrix [rows, columns] in so many bits.
std::vector<float> as_quantized(QuantizedBase::Kind kind, const std::vector<float>& values,
                                int64_t rows, int64_t columns);

}  // namespace revenant
