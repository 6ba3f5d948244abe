// JSON of files that others wrote: size and depth are limited, and a key may not stand twice.
#pragma once

#include <cstdint>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/file.h"

namespace revenant {

// `room` and `subject` begin the message of the Error.
nlohmann::json parse_json(std::string_view text, const std::string& room,
                          const std::string& subject, size_t max_depth = 32);

nlohmann::json read_json(const Path& file, uint64_t max_bytes = 100'000'000);

}  // namespace revenant
