// JSON of files that others wrote. Size and depth are limited, a key may not stand twice, a byte
// order mark at the start is passed over. And JSON that we write with strings from outside.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

#include "base/file_set.h"
#include "base/place.h"

namespace revenant {

// A tree of this depth may be copied, compared and written by functions that call themselves.
constexpr size_t most_json_levels = 512;

// Fails at the byte where `text` is nested deeper than that. Builds nothing, without a call a
// level.
void check_json_depth(std::string_view text, const Place& place, size_t max_levels);

nlohmann::json parse_json(std::string_view text, const Place& place,
                          size_t max_levels = most_json_levels);

nlohmann::json read_json(const Path& file, const std::string& room = "json",
                         uint64_t max_bytes = 100'000'000);

nlohmann::json read_json(const FileSet& files, std::string_view name,
                         const std::string& room = "json");

// What is not UTF-8 in its strings becomes U+FFFD, where dump() would throw. indent < 0: one line.
std::string json_text(const nlohmann::json& value, int indent = -1);

// One short line of ASCII, whatever the file says.
std::string shown(const nlohmann::json& value);

}  // namespace revenant
