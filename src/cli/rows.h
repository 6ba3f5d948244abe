// Rows of figures on stdout: objects of JSON with the same members.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace revenant {

// `form` is table or csv (with these columns), or json (with all members).
void print_rows(const nlohmann::json& rows, std::span<const char* const> columns,
                const std::string& form);

}  // namespace revenant
