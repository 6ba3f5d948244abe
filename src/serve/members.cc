#include "serve/members.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"

namespace revenant {

using nlohmann::json;

namespace {

std::string number_text(double value) { return shown(json(value)); }

std::string range_text(const std::string& least, const std::string& most) {
  return "from " + least + " to " + most;
}

}  // namespace

Members::Members(const json& object, std::string path) : object_(object), path_(std::move(path)) {
  if (!object_.is_object())
    throw invalid(path_, std::string("expected an object, found ") + object_.type_name(),
                  "invalid_type");
}

const json* Members::find(const char* name) {
  known_.insert(name);
  const auto at = object_.find(name);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

const json& Members::required(const char* name, const char* what) {
  if (const json* value = find(name)) return *value;
  throw invalid(at(name), std::string("expected ") + what + ", found none", "missing_parameter");
}

std::optional<double> Members::number(const char* name, double least, double most) {
  const json* value = find(name);
  if (!value) return {};
  if (!value->is_number())
    throw invalid(at(name), "expected a number, found " + shown(*value), "invalid_type");
  const double number = value->get<double>();
  if (!(number >= least && number <= most))
    throw invalid(at(name), "expected a number " +
                                range_text(number_text(least), number_text(most)) + ", found " +
                                shown(*value));
  return number;
}

std::optional<int64_t> Members::whole(const char* name, int64_t least, int64_t most) {
  const json* value = find(name);
  if (!value) return {};
  const bool too_large =
      value->is_number_unsigned() && value->get<uint64_t>() > uint64_t(INT64_MAX);
  if (!value->is_number_integer())
    throw invalid(at(name), "expected a whole number, found " + shown(*value), "invalid_type");
  if (too_large || value->get<int64_t>() < least || value->get<int64_t>() > most)
    throw invalid(at(name), "expected a whole number " +
                                range_text(std::to_string(least), std::to_string(most)) +
                                ", found " + shown(*value));
  return value->get<int64_t>();
}

std::optional<bool> Members::flag(const char* name) {
  const json* value = find(name);
  if (!value) return {};
  if (!value->is_boolean())
    throw invalid(at(name), "expected true or false, found " + shown(*value), "invalid_type");
  return value->get<bool>();
}

std::optional<std::string> Members::text(const char* name) {
  const json* value = find(name);
  if (!value) return {};
  if (!value->is_string())
    throw invalid(at(name), "expected a string, found " + shown(*value), "invalid_type");
  return value->get<std::string>();
}

void Members::only(const char* name, std::initializer_list<json> values) {
  const json* value = find(name);
  if (!value || std::find(values.begin(), values.end(), *value) != values.end()) return;
  std::string all;
  for (const json& one : values) all += (all.empty() ? "" : " or ") + shown(one);
  throw invalid(at(name), "this server knows only " + all + ", found " + shown(*value),
                "unsupported_value");
}

void Members::pass_over(const char* name, std::vector<std::string>& ignored) {
  if (find(name)) ignored.push_back(at(name));
}

void Members::refuse_others() const {
  for (const auto& [name, value] : object_.items())
    if (!known_.contains(name)) {
      const std::string part = at(shown(name).substr(1, shown(name).size() - 2));
      throw invalid(part, "this server does not know this parameter", "unknown_parameter");
    }
}

}  // namespace revenant
