#include "io/json_file.h"

#include <set>
#include <vector>

#include "base/error.h"

namespace revenant {

using nlohmann::json;

json parse_json(std::string_view text, const std::string& room, const std::string& subject,
                size_t max_depth) {
  std::vector<std::set<std::string>> keys;  // of the values that are open
  const auto watch = [&](int, json::parse_event_t event, json& value) {
    using Event = json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      keys.emplace_back();
      if (keys.size() > max_depth) {
        throw Error(room, subject, "at most " + std::to_string(max_depth) + " levels of JSON",
                    "deeper nesting");
      }
    } else if (event == Event::object_end || event == Event::array_end) {
      keys.pop_back();
    } else if (event == Event::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) {
        throw Error(room, subject, "unique keys", '"' + key + "\" twice");
      }
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), watch);
  } catch (const json::exception& e) {
    throw Error(room, subject, "JSON", json_reason(e.what()));
  }
}

json read_json(const Path& file, uint64_t max_bytes) {
  const MappedFile mapped(file);
  if (mapped.bytes().size() > max_bytes) {
    throw Error("json", file.string(), "at most " + std::to_string(max_bytes) + " bytes",
                std::to_string(mapped.bytes().size()));
  }
  return parse_json(mapped.text(), "json", file.string());
}

}  // namespace revenant
