// The keys by which transformers steers generation: in generation_config.json, and in older files
// within config.json (docs/config.md).
#pragma once

#include "model/config.h"

namespace revenant {

struct Fields;

// Refuses what would change the tokens of a greedy answer and is not done here; returns what is to
// be told: sampling that the file asks for and nobody gets without options.
std::vector<std::string> check_generation(const Fields& fields);

// Whether `key` is one of them.
bool steers_generation(std::string_view key);

// With generation_config.json's end tokens and warnings too. Throws Error.
Config with_generation(Config config, const nlohmann::json& json, const std::string& subject);

}  // namespace revenant
