// GGUF version 3 (and 2, which lies alike): typed keys, then tensors in the formats of
// quant/format.h, in one file. Source: ggml's docs/gguf.md. A file may come from anybody: every
// count and length is held against the file's size before anything is allocated, every value
// against the type that is asked for.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/file.h"
#include "base/place.h"
#include "io/tensor.h"
#include "quant/format.h"

namespace revenant {

struct GgufValue;

struct GgufArray {
  uint32_t type = 0;  // of all values
  std::vector<GgufValue> values;
  std::string bytes = {};  // of an array of UINT8, in place of `values`
};

// Its index is the type's number in the file.
struct GgufValue : std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool,
                                std::string, GgufArray, uint64_t, int64_t, double> {
  using variant::variant;
};

GgufValue gguf_array(const std::vector<std::string>& values);
GgufValue gguf_array(const std::vector<int32_t>& values);
GgufValue gguf_array(const std::vector<float>& values);
GgufValue gguf_bytes(std::string_view bytes);  // an array of UINT8

using GgufKeys = std::vector<std::pair<std::string, GgufValue>>;  // in the file's order

constexpr uint32_t gguf_i8 = 24;  // ggml's number of that type

struct GgufTensor {
  std::optional<Format> format;     // none: plain bytes (I8)
  std::vector<int64_t> shape;       // [rows, columns]: GGUF's own order turned round
  std::span<const std::byte> data;  // rows of blocks, aligned as the file says
};

// A mapped file; what it gives points into the mapping and lives as long as it does.
class Gguf {
 public:
  // Throws Error that names file, key or tensor, expected, found.
  explicit Gguf(const Path& file);
  const Path& path() const { return path_; }
  const GgufKeys& keys() const { return keys_; }
  const std::map<std::string, GgufTensor>& tensors() const { return tensors_; }

  const GgufValue* find(std::string_view key) const;  // null: absent
  // Throw Error if the key is absent or of another type; a number may be of any width that holds
  // it.
  int64_t integer(std::string_view key) const;
  double number(std::string_view key) const;
  const std::string& text(std::string_view key) const;
  std::vector<std::string> texts(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;
  const std::string& bytes(std::string_view key) const;  // of a text, or of an array of UINT8
  Place place(std::string_view key) const;               // of a key or a tensor, for messages

 private:
  const GgufValue& at(std::string_view key) const;

  Path path_;
  MappedFile file_;
  GgufKeys keys_;
  std::map<std::string, size_t, std::less<>> places_;  // of keys
  std::map<std::string, GgufTensor> tensors_;
};

bool is_gguf(const Path& file);  // a regular file that begins as one

// A tensor that is made while it is written.
struct GgufSource {
  std::string name;
  std::optional<Format> format;  // as of GgufTensor
  std::vector<int64_t> shape;
  std::function<void(const Sink&)> produce;
};

// Writes atomically, version 3, tensors in the order given, aligned to 64 bytes, which the key
// general.alignment says. Throws Error if what a source produces has another size.
void write_gguf(const Path& file, const GgufKeys& keys, std::span<const GgufSource> tensors);

}  // namespace revenant
