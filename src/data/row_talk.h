// What was said in a row, whatever form it is written in: messages of LLaVA and ShareGPT (from,
// value), of OpenAI and TRL (role, content), or plain questions and answers.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "data/row_form.h"

namespace revenant {

// Where in a row one is: a JSON pointer, shown as "messages[0].content".
class Field {
 public:
  using Pointer = nlohmann::json::json_pointer;
  Field operator/(const std::string& key) const { return Field(pointer_ / key); }
  Field operator[](size_t index) const { return Field(pointer_ / index); }
  const Pointer& pointer() const { return pointer_; }
  std::string text() const;

  Field() = default;
  [[noreturn]] void fail(const std::string& expected, const std::string& found) const {
    throw Fault{text(), expected, found};
  }

 private:
  explicit Field(Pointer pointer) : pointer_(std::move(pointer)) {}
  Pointer pointer_;
};

// A value of a row and where it stands.
struct At {
  Field field;
  const nlohmann::json* value;

  At operator/(const std::string& key) const { return {field / key, &value->at(key)}; }
  At operator[](size_t i) const { return {field[i], &value->at(i)}; }
  [[noreturn]] void fail(const std::string& expected) const;
  std::string text() const;  // it must be a string
};

// A row's fields under the names that the file gives them.
struct RowFields {
  const nlohmann::json& json;
  const FieldNames& names;

  Field field(const char* key) const;
  std::optional<At> find(const char* key) const;  // nothing: not there, or null
};

struct RowTalk {
  Field at;                     // what messages about the whole of it name
  std::vector<Exchange> turns;  // questions with an <image> mark for each picture of a content part
  std::vector<Field> answers;   // where each turn's answer stands
  std::string rejected;         // of the last turn; empty: none
  std::optional<Field> rejected_at = {};
  std::vector<At> pictures;   // that content parts bring along
  bool marks_itself = false;  // LLaVA's form: pictures without marks are an error
};
RowTalk read_talk(const RowFields& row);  // throws Fault

}  // namespace revenant
