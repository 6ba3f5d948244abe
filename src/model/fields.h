// One object of a config.json, read field by field. Only room `model` includes this.
#pragma once

#include <cfloat>
#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"

namespace revenant {

using Names = std::vector<std::string>;

// "a, b or c"
std::string listed(const Names& names);

// The object and where it stands, so that every complaint names the field.
struct Fields {
  using Json = nlohmann::json;
  static constexpr int most = 1 << 16;  // far above any model's width

  const Json& json;
  Place place;
  std::set<std::string>& asked;  // takes the paths of all keys asked for

  [[noreturn]] void fail(const std::string& key, const std::string& expected) const;
  bool has(const char* key) const;  // and it is not null
  int integer(const char* key, std::optional<int> fallback = {}) const;
  // A size: the forward divides by some of these, so none may be zero.
  int size(const char* key, std::optional<int> fallback = {}, int most = Fields::most) const;
  // The forward has it as a float, which must be able to hold it.
  double number(const char* key, std::optional<double> fallback = {}) const;
  double positive(const char* key, std::optional<double> fallback = {}) const;
  bool flag(const char* key, bool fallback) const;
  std::string text(const char* key, const std::string& fallback = "") const;
  std::vector<double> positives(const char* key, size_t count) const;
  std::vector<int> ids(const char* key) const;  // one, or a list of them

  // What the code does anyway: where the file speaks of it, it must say the same.
  void fixed(const char* key, const Json& only) const;
  void one_of(const char* key, const Names& known) const;
  void architecture(const Names& known) const;
  void keys(const Names& known) const;  // and no others

  Fields object(const char* key) const;
  Fields object_if_any(const char* key) const;  // empty where the file has none
};

}  // namespace revenant
