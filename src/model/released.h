// The seven released checkpoints as data: what stands in each one's config.json and how its weights
// are cut into files. Sources of all numbers: papers.md, sections 3.2 to 3.4.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace revenant {

struct Released {
  std::string name;       // "phantom-7b"
  nlohmann::json config;  // without the defaults that transformers dumps
  uint64_t shard_bytes;   // most bytes a file
};

const std::vector<std::string>& released_names();
Released released(std::string_view name);  // throws Error that lists the names

}  // namespace revenant
