// Lists of JSON that packages bring.
#pragma once

#include "base/json.h"

namespace revenant {

// use(entry, index) for each; what an entry lacks becomes an Error that names file and entry.
void for_each_entry(const Path& file, const auto& use) {
  const Place place{"data", file.string()};
  const nlohmann::json list = read_json(file, place.room);
  if (!list.is_array()) place.fail("a list", shown(list));
  for (size_t i = 0; i < list.size(); ++i) try {
      use(list[i], i);
    } catch (const nlohmann::json::exception& error) {
      place[i].fail(json_reason(error.what()));
    }
}

}  // namespace revenant
