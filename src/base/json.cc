#include "base/json.h"

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

// Builds the tree as the parser meets it, in time linear in the text; the parser's own callbacks
// look through all members of a list after each of them.
class Builder : public nlohmann::json_sax<json> {
 public:
  explicit Builder(const Place& place) : place_(place) {}
  json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(int64_t value) override { return put(value); }
  bool number_unsigned(uint64_t value) override { return put(value); }
  bool number_float(double value, const std::string&) override { return put(value); }
  bool string(std::string& value) override { return put(std::move(value)); }
  bool binary(json::binary_t&) override { return false; }  // not in text
  bool start_object(size_t) override { return open(json::object()); }
  bool start_array(size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& name) override {
    path_.back() = name;
    const auto [member, fresh] = open_.back()->get_ref<json::object_t&>().try_emplace(name);
    if (!fresh)
      (place_ / shortened(path_of(path_), most_told)).fail("unique keys", shown(name) + " twice");
    member_ = &member->second;
    return true;
  }
  bool parse_error(size_t, const std::string&, const json::exception& e) override {
    place_.fail("JSON", shortened(json_reason(e.what()), most_told));
  }

 private:
  json& add(json&& value) {
    if (open_.empty()) return root_ = std::move(value);
    if (open_.back()->is_object()) return *member_ = std::move(value);
    open_.back()->push_back(std::move(value));
    return open_.back()->back();
  }
  bool put(json&& value) {
    add(std::move(value));
    return true;
  }
  bool open(json&& value) {
    open_.push_back(&add(std::move(value)));
    path_.emplace_back();
    return true;
  }
  bool close() {
    open_.pop_back();
    path_.pop_back();
    return true;
  }

  const Place& place_;
  json root_;
  std::vector<json*> open_;        // none of them grows while one inside it is open
  json* member_ = nullptr;         // of the innermost object: what its last key names
  std::vector<std::string> path_;  // the last key in each of them
};

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
  Builder builder(place);
  json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

json read_json(const Path& file, const std::string& room, uint64_t max_bytes) {
  const MappedFile mapped(file);
  const Place place{room, file.string()};
  if (mapped.bytes().size() > max_bytes)
    place.fail("at most " + std::to_string(max_bytes) + " bytes",
               std::to_string(mapped.bytes().size()));
  return parse_json(mapped.text(), place);
}

json read_json(const FileSet& files, std::string_view name, const std::string& room) {
  if (!files.in_one_file()) return read_json(files.origin() / name, room);
  return parse_json(files.read(name), {room, files.place_of(name)});
}

std::string json_text(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

std::string shown(const json& value) {
  return shortened(value.dump(-1, ' ', true, json::error_handler_t::replace), most_shown);
}

}  // namespace revenant
