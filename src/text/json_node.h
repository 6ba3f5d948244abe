// A tokenizer's JSON files. Read by simdjson, because a vocabulary has megabytes; each value knows
// where it stands.
#pragma once

#include <simdjson.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_set.h"
#include "base/place.h"

namespace revenant {

class Node {
 public:
  Node(simdjson::dom::element value, Place place) : value_(value), place_(std::move(place)) {}

  const Place& place() const { return place_; }
  template <class T>
  bool is() const {
    return value_.is<T>();
  }
  template <class T>
  T as(const char* expected) const {
    T value;
    if (value_.get(value)) place_.fail(expected, described());
    return value;
  }
  std::string text() const { return std::string(as<std::string_view>("a string")); }
  int32_t id() const;  // of a token
  std::vector<Node> items() const;

  std::optional<Node> member(std::string_view key) const;  // there, and not null
  Node required(std::string_view key) const;
  bool flag(std::string_view key, bool otherwise = false) const;
  std::string type() const;  // member "type"; empty: none
  // Refuses a member that is none of these, and one that stands twice.
  void allow(std::initializer_list<std::string_view> keys) const;

 private:
  std::string described() const;
  simdjson::dom::element value_;
  Place place_;
};

class JsonFile {
 public:
  JsonFile(const FileSet& files, std::string_view name);  // throws Error
  Node root() const { return {root_, place_}; }
  const std::string& name() const { return place_.file; }

 private:
  Place place_;
  simdjson::dom::parser parser_;
  simdjson::dom::element root_;
};

}  // namespace revenant
