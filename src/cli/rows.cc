#include "cli/rows.h"

#include <algorithm>
#include <cstdio>

#include "base/json.h"

namespace revenant {

using nlohmann::json;

namespace {

std::string cell(const json& value) {
  if (value.is_null()) return "-";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return std::to_string(value.get<int64_t>());
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value.get<double>());
  return text;
}

}  // namespace

void print_rows(const json& rows, std::span<const char* const> columns, const std::string& form) {
  if (form == "json") return void(std::printf("%s\n", json_text(rows, 1).c_str()));
  const auto line = [&](const auto& get) {
    for (size_t i = 0; i < columns.size(); ++i) {
      const std::string text = get(columns[i]);
      if (form == "table")
        std::printf("%-*s ", int(std::max(std::string(columns[i]).size(), size_t(9))),
                    text.c_str());
      else
        std::printf("%s%s", i ? "," : "", text.c_str());
    }
    std::printf("\n");
  };
  line([](const char* column) { return std::string(column); });
  for (const json& row : rows)
    line([&](const char* column) { return cell(row.value(column, json())); });
}

}  // namespace revenant
