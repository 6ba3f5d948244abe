#include "text/json_node.h"

#include <algorithm>

#include "base/json.h"
#include "text/tables.h"
#include "text/unicode.h"

namespace revenant {

using simdjson::dom::element;

int32_t Node::id() const {
  const auto id = as<int64_t>("a token id");
  if (id < 0 || id > largest_id)
    place_.fail("a token id of at most " + std::to_string(largest_id), std::to_string(id));
  return int32_t(id);
}

std::vector<Node> Node::items() const {
  std::vector<Node> items;
  for (const element e : as<simdjson::dom::array>("a list"))
    items.emplace_back(e, place_[items.size()]);
  return items;
}

std::optional<Node> Node::member(std::string_view key) const {
  element value;
  if (value_.at_key(key).get(value) || value.is_null()) return std::nullopt;
  return Node(value, place_ / key);
}

Node Node::required(std::string_view key) const {
  if (const auto value = member(key)) return *value;
  (place_ / key).fail("a value", "none");
}

bool Node::flag(std::string_view key, bool otherwise) const {
  const auto value = member(key);
  return value ? value->as<bool>("true or false") : otherwise;
}

std::string Node::type() const {
  const auto type = member("type");
  return type ? type->text() : "";
}

void Node::allow(std::initializer_list<std::string_view> keys) const {
  std::vector<std::string_view> seen;
  for (const auto [key, value] : as<simdjson::dom::object>("an object")) {
    if (std::ranges::find(keys, key) == keys.end())
      place_.fail("settings that this reader knows", "'" + std::string(key) + "'");
    if (std::ranges::find(seen, key) != seen.end())
      place_.fail("each setting once", "'" + std::string(key) + "' again");
    seen.push_back(key);
  }
}

std::string Node::described() const {
  constexpr size_t most = 60;
  const std::string text = simdjson::minify(value_);
  return text.size() > most ? repaired(text.substr(0, most)) + "..." : text;
}

JsonFile::JsonFile(const FileSet& files, std::string_view name)
    : place_{"tokenizer", files.place_of(name)} {
  const std::string file = files.read(name);
  std::string_view text = file;
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
  if (text.empty()) place_.fail("JSON", "an empty file");
  auto error = parser_.allocate(text.size(), most_json_levels + 1);
  if (!error) error = parser_.parse(text.data(), text.size()).get(root_);
  if (error == simdjson::DEPTH_ERROR) check_json_depth(text, place_, most_json_levels);
  if (error) place_.fail("JSON", simdjson::error_message(error));
}

}  // namespace revenant
