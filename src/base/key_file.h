// API keys as they are kept in files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"

namespace revenant {

// 1 to 1,024 visible ASCII characters; else throws Error of that room, which does not show it.
void check_key(std::string_view key, const std::string& room);

// A key a line; empty lines and those that begin with # are passed over. Throws Error where others
// than the owner may read or write the file, and where there is none in it.
std::vector<std::string> read_key_file(const Path& file, const std::string& room);

}  // namespace revenant
