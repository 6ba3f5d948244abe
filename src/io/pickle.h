// The few pickle opcodes that a saved dictionary of tensors needs, read into plain values. Nothing
// is ever imported or called: a GLOBAL is a name from a short list, REDUCE knows what the three
// functions on it mean, and any other opcode or name is an Error that says which.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/dtype.h"

namespace revenant::pickle {

enum class Kind { none, boolean, integer, text, tuple, list, dict, global, storage, tensor };

using Id = uint32_t;  // index into Pickle::values; values may share and even contain each other

struct Value {
  Kind kind = Kind::none;
  int64_t number = 0;     // boolean, integer; storage: elements
  std::string text;       // text; global: "module name"; storage: its key
  std::vector<Id> items;  // tuple, list; dict: key, value, key, ...; tensor: storage, offset,
                          // size, stride
};

struct Pickle {
  std::vector<Value> values;
  Id root = 0;
  size_t end = 0;  // byte after STOP
  const Value& operator[](Id id) const { return values.at(id); }
};

// `subject` is the file's name, for messages.
Pickle read(std::string_view bytes, const std::string& subject);

// "torch FloatStorage" -> f32; nothing for other names.
std::optional<DType> storage_type(const std::string& global);

}  // namespace revenant::pickle
