#include "model/fields.h"

#include <algorithm>

namespace revenant {
namespace {

bool contains(const Names& names, const nlohmann::json& name) {
  return name.is_string() && std::ranges::count(names, name.get<std::string>());
}

}  // namespace

std::string listed(const Names& names) {
  std::string list;
  for (size_t i = 0; i < names.size(); ++i)
    list += (i == 0 ? "" : i + 1 < names.size() ? ", " : " or ") + names[i];
  return list;
}

void Fields::fail(const std::string& key, const std::string& expected) const {
  const auto it = json.find(key);
  (place / key).fail(expected, it == json.end() ? "nothing" : shown(*it));
}

bool Fields::has(const char* key) const {
  asked.insert((place / key).inside);
  return json.contains(key) && !json[key].is_null();
}

int Fields::integer(const char* key, std::optional<int> fallback) const {
  if (!has(key) && fallback) return *fallback;
  if (!has(key) || !json[key].is_number_integer()) fail(key, "an integer");
  const Json& value = json[key];
  if (value.is_number_unsigned() ? value.get<uint64_t>() > 1 << 30 : value.get<int64_t>() < -1)
    fail(key, "an integer in [-1, 2^30]");
  return value.get<int>();
}

int Fields::size(const char* key, std::optional<int> fallback, int most) const {
  const int value = integer(key, fallback);
  if (value < 1 || value > most) fail(key, "an integer in [1, " + std::to_string(most) + "]");
  return value;
}

double Fields::number(const char* key, std::optional<double> fallback) const {
  if (!has(key) && fallback) return *fallback;
  if (!has(key) || !json[key].is_number()) fail(key, "a number");
  const auto value = json[key].get<double>();
  if (!(std::abs(value) <= FLT_MAX)) fail(key, "a finite number");
  return value;
}

double Fields::positive(const char* key, std::optional<double> fallback) const {
  const double value = number(key, fallback);
  if (!(float(value) > 0)) fail(key, "a positive number");
  return value;
}

bool Fields::flag(const char* key, bool fallback) const {
  if (!has(key)) return fallback;
  if (!json[key].is_boolean()) fail(key, "true or false");
  return json[key].get<bool>();
}

std::string Fields::text(const char* key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  if (!json[key].is_string()) fail(key, "a string");
  return json[key].get<std::string>();
}

std::vector<double> Fields::positives(const char* key, size_t count) const {
  const std::string expected = "a list of " + std::to_string(count) + " positive numbers";
  if (!has(key) || !json[key].is_array() || json[key].size() != count) fail(key, expected);
  std::vector<double> values;
  for (const Json& item : json[key]) {
    values.push_back(item.is_number() ? item.get<double>() : 0);
    if (!(values.back() <= FLT_MAX && float(values.back()) > 0)) fail(key, expected);
  }
  return values;
}

std::vector<int> Fields::ids(const char* key) const {
  if (!has(key)) return {};
  if (!json[key].is_array()) {
    const int id = integer(key);
    return id < 0 ? std::vector<int>() : std::vector<int>{id};
  }
  std::vector<int> ids;
  for (const Json& item : json[key]) {
    if (!item.is_number_integer() || item < 0 || item > 1 << 30)
      fail(key, "an integer or a list of integers in [0, 2^30]");
    ids.push_back(item.get<int>());
  }
  return ids;
}

void Fields::fixed(const char* key, const Json& only) const {
  if (has(key) && json[key] != only) fail(key, shown(only));
}

void Fields::one_of(const char* key, const Names& known) const {
  if (has(key) && !contains(known, json[key])) fail(key, listed(known));
}

void Fields::architecture(const Names& known) const {
  if (!has("architectures") || json["architectures"] == Json::array()) return;
  const Json& list = json["architectures"];
  if (!list.is_array() || !contains(known, list[0]))
    fail("architectures", "a list that begins with " + listed(known));
}

void Fields::keys(const Names& known) const {
  for (const auto& [key, value] : json.items())
    if (!contains(known, key)) fail(key, "no such key (known: " + listed(known) + ")");
}

Fields Fields::object(const char* key) const {
  if (!has(key) || !json[key].is_object()) fail(key, "an object");
  return {json[key], place / key, asked};
}

Fields Fields::object_if_any(const char* key) const {
  static const Json none = Json::object();
  return has(key) ? object(key) : Fields{none, place / key, asked};
}

}  // namespace revenant
