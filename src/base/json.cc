#include "base/json.h"

#include <set>
#include <vector>

namespace revenant {

using nlohmann::json;

namespace {

constexpr size_t most_shown = 80, most_told = 300;

std::string shortened(const std::string& text, size_t most) {
  return text.size() <= most ? text : text.substr(0, most - 3) + "...";
}

std::string path_of(const std::vector<std::string>& path) {
  std::string text;
  for (const std::string& step : path) text += (text.empty() || step.empty() ? "" : ".") + step;
  return text;
}

}  // namespace

void check_json_depth(std::string_view text, const Place& place, size_t max_levels) {
  size_t levels = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') ++i;
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == '{' || c == '[') ++levels;
    if ((c == '}' || c == ']') && levels > 0) --levels;
    if (levels > max_levels)
      (place / ("byte " + std::to_string(i)))
          .fail("at most " + std::to_string(max_levels) + " levels of JSON", "deeper nesting");
  }
}

json parse_json(std::string_view text, const Place& place, size_t max_levels) {
  check_json_depth(text, place, max_levels);
  std::vector<std::set<std::string>> keys;  // of the values that are open
  std::vector<std::string> path;            // the key in each of them
  const auto watch = [&](int, json::parse_event_t event, json& value) {
    using Event = json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      keys.emplace_back();
      path.emplace_back();
    } else if (event == Event::object_end || event == Event::array_end) {
      keys.pop_back();
      path.pop_back();
    } else if (event == Event::key) {
      path.back() = value.get<std::string>();
      if (!keys.back().insert(path.back()).second)
        (place / shortened(path_of(path), most_told))
            .fail("unique keys", shown(path.back()) + " twice");
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), watch);
  } catch (const json::exception& e) {
    place.fail("JSON", shortened(json_reason(e.what()), most_told));
  }
}

json read_json(const Path& file, const std::string& room, uint64_t max_bytes) {
  const MappedFile mapped(file);
  const Place place{room, file.string()};
  if (mapped.bytes().size() > max_bytes)
    place.fail("at most " + std::to_string(max_bytes) + " bytes",
               std::to_string(mapped.bytes().size()));
  return parse_json(mapped.text(), place);
}

std::string json_text(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

std::string shown(const json& value) {
  return shortened(value.dump(-1, ' ', true, json::error_handler_t::replace), most_shown);
}

}  // namespace revenant
