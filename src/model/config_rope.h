// The rotary settings of a config.json, in transformers' older and newer spellings
// (docs/config.md).
#pragma once

#include "model/config.h"
#include "model/fields.h"

namespace revenant {

RopeConfig parse_rope(const Fields& llm, int head_dim, std::vector<std::string>& warnings);

}  // namespace revenant
