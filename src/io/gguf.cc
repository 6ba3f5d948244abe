#include "io/gguf.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <optional>

namespace revenant {
namespace {

constexpr uint32_t magic = 0x46554747;  // "GGUF"
constexpr uint32_t array_type = 9, types = 13;
constexpr size_t most_dimensions = 4, most_nesting = 4;
constexpr uint64_t most_values = 1 << 22;  // of all arrays: a byte of the file takes 72 here
constexpr uint64_t usual_alignment = 32;
constexpr std::string_view alignment_key = "general.alignment";
constexpr const char* type_names[types] = {"UINT8",  "INT8",    "UINT16", "INT16",  "UINT32",
                                           "INT32",  "FLOAT32", "BOOL",   "STRING", "ARRAY",
                                           "UINT64", "INT64",   "FLOAT64"};

// Reads forward; nothing beyond the end.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t position() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }

  std::span<const std::byte> take(uint64_t size, const Place& place) {
    if (size > left())
      place.fail(std::to_string(size) + " bytes more",
                 std::to_string(left()) + " to the file's end");
    at_ += size_t(size);
    return bytes_.subspan(at_ - size_t(size), size_t(size));
  }
  template <class T>
  T number(const Place& place) {
    T value;
    std::memcpy(&value, take(sizeof value, place).data(), sizeof value);
    return value;
  }
  std::string text(const Place& place) {
    const auto bytes = take(number<uint64_t>(place), place);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // How many things of at least `least` bytes each come.
  uint64_t count(uint64_t least, const Place& place) {
    const auto n = number<uint64_t>(place);
    if (n > left() / least)
      place.fail("at most as many as the file has room for", std::to_string(n));
    return n;
  }
  uint32_t type(const Place& place) {
    const auto type = number<uint32_t>(place);
    if (type >= types) place.fail("a type from 0 to 12", std::to_string(type));
    return type;
  }
  GgufValue value(uint32_t type, const Place& place, size_t levels = 0) {
    switch (type) {
      case 0:
        return number<uint8_t>(place);
      case 1:
        return number<int8_t>(place);
      case 2:
        return number<uint16_t>(place);
      case 3:
        return number<int16_t>(place);
      case 4:
        return number<uint32_t>(place);
      case 5:
        return number<int32_t>(place);
      case 6:
        return number<float>(place);
      case 7:
        return truth(place);
      case 8:
        return text(place);
      case array_type:
        return array(place, levels);
      case 10:
        return number<uint64_t>(place);
      case 11:
        return number<int64_t>(place);
      default:
        return number<double>(place);
    }
  }

 private:
  GgufValue truth(const Place& place) {
    const auto byte = number<uint8_t>(place);
    if (byte > 1) place.fail("0 or 1", std::to_string(byte));
    return byte == 1;
  }
  GgufValue array(const Place& place, size_t levels) {
    if (levels == most_nesting) place.fail("arrays in at most 4 levels", "more");
    constexpr uint64_t least[types] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
    GgufArray array{type(place), {}, {}};
    const uint64_t n = count(least[array.type], place);
    if (array.type == 0) {
      const auto bytes = take(n, place);
      array.bytes.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return array;
    }
    if ((values_ += n) > most_values)
      place.fail("at most " + std::to_string(most_values) + " values in arrays", "more");
    array.values.reserve(size_t(n));
    for (uint64_t i = 0; i < n; ++i) array.values.push_back(value(array.type, place, levels + 1));
    return array;
  }

  std::span<const std::byte> bytes_;
  size_t at_ = 0;
  uint64_t values_ = 0;  // in arrays so far
};

// A tensor as the file's table has it.
struct Entry {
  std::string name;
  GgufTensor tensor;
  uint64_t offset = 0, size = 0;
};

std::optional<Format> format_of(uint32_t type, const Place& place) {
  if (type == gguf_i8) return {};
  std::string known = "I8";
  for (const FormatInfo& f : formats()) {
    if (f.ggml_type == type) return f.format;
    known += std::string(", ") + f.name;
  }
  place.fail("a format that is read here (" + known + ")", "ggml type " + std::to_string(type));
}

Entry read_entry(Reader& reader, const Place& file) {
  Entry entry;
  entry.name = reader.text(file / "tensor names");
  const Place place = file / entry.name;
  const auto dimensions = reader.number<uint32_t>(place);
  if (dimensions > most_dimensions) place.fail("at most 4 dimensions", std::to_string(dimensions));
  uint64_t rows = 1, columns = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto extent = reader.number<uint64_t>(place);
    if (extent == 0 || extent > uint64_t(INT64_MAX))
      place.fail("extents above 0", std::to_string(extent));
    if (i == 0) columns = extent;
    if (i > 0 && __builtin_mul_overflow(rows, extent, &rows))
      place.fail("a size below 2^64", "a larger one");
    entry.tensor.shape.insert(entry.tensor.shape.begin(), int64_t(extent));
  }
  if (dimensions == 0) entry.tensor.shape = {1};
  entry.tensor.format = format_of(reader.number<uint32_t>(place), place);
  const FormatInfo* format = entry.tensor.format ? &info(*entry.tensor.format) : nullptr;
  const uint64_t block = format ? format->block : 1, bytes = format ? format->bytes : 1;
  if (columns % block != 0)
    place.fail(
        std::string("whole blocks of ") + std::to_string(block) + " numbers for " + format->name,
        std::to_string(columns) + " a row");
  if (__builtin_mul_overflow(columns / block, bytes, &entry.size) ||
      __builtin_mul_overflow(entry.size, rows, &entry.size))
    place.fail("a size below 2^64", "a larger one");
  entry.offset = reader.number<uint64_t>(place);
  return entry;
}

uint64_t aligned(uint64_t size, uint64_t alignment) {
  return (size + alignment - 1) / alignment * alignment;
}

// Nowhere do two tensors share bytes.
void check_disjoint(std::vector<Entry>& entries, const Place& file) {
  std::ranges::sort(entries, {}, &Entry::offset);
  for (size_t i = 1; i < entries.size(); ++i)
    if (entries[i].offset < entries[i - 1].offset + entries[i - 1].size)
      (file / entries[i].name).fail("bytes of its own", "some of " + entries[i - 1].name);
}

}  // namespace

Gguf::Gguf(const Path& path) : path_(path), file_(path) {
  const Place place{"gguf", path.string()};
  Reader reader(file_.bytes());
  if (reader.number<uint32_t>(place) != magic)
    place.fail("a file that begins with GGUF", "another");
  if (const auto version = reader.number<uint32_t>(place); version != 2 && version != 3)
    place.fail("version 2 or 3, little-endian", "version " + std::to_string(version));
  const uint64_t tensors = reader.number<uint64_t>(place / "number of tensors");
  const uint64_t keys = reader.count(13, place / "number of keys");
  for (uint64_t i = 0; i < keys; ++i) {
    std::string name = reader.text(place / "key names");
    const Place here = place / name;
    if (!places_.emplace(name, keys_.size()).second) here.fail("unique keys", "it twice");
    const uint32_t type = reader.type(here);
    keys_.emplace_back(std::move(name), reader.value(type, here));
  }
  if (tensors > reader.left() / 24)
    (place / "number of tensors")
        .fail("at most as many as the file has room for", std::to_string(tensors));
  std::vector<Entry> entries;
  for (uint64_t i = 0; i < tensors; ++i) entries.push_back(read_entry(reader, place));
  const int64_t alignment = find(alignment_key) ? integer(alignment_key) : int64_t(usual_alignment);
  if (alignment < 1 || alignment > 1 << 20 || (alignment & (alignment - 1)) != 0)
    (place / alignment_key).fail("a power of two up to 2^20", std::to_string(alignment));
  const uint64_t begin = aligned(reader.position(), uint64_t(alignment));
  for (Entry& entry : entries) {
    const Place here = place / entry.name;
    if (entry.offset % uint64_t(alignment) != 0)
      here.fail("an offset in steps of " + std::to_string(alignment), std::to_string(entry.offset));
    const uint64_t room = file_.bytes().size() > begin ? file_.bytes().size() - begin : 0;
    if (entry.offset > room || entry.size > room - entry.offset)
      here.fail("data inside the file", std::to_string(entry.size) + " bytes at " +
                                            std::to_string(entry.offset) + " of " +
                                            std::to_string(room));
    entry.tensor.data = file_.bytes().subspan(begin + entry.offset, entry.size);
  }
  check_disjoint(entries, place);
  for (Entry& entry : entries)
    if (!tensors_.emplace(entry.name, std::move(entry.tensor)).second)
      (place / entry.name).fail("unique names", "it twice");
}

const GgufValue* Gguf::find(std::string_view key) const {
  const auto place = places_.find(key);
  return place == places_.end() ? nullptr : &keys_[place->second].second;
}

Place Gguf::place(std::string_view key) const { return {"gguf", path_.string(), std::string(key)}; }

const GgufValue& Gguf::at(std::string_view key) const {
  if (const GgufValue* value = find(key)) return *value;
  place(key).fail("this key", "none");
}

namespace {

// The value as a T, a number of any width as long as T holds it.
template <class T>
T as(const GgufValue& value, const char* expected, const Place& place) {
  std::optional<T> result;
  std::visit(
      [&]<class V>(const V& x) {
        if constexpr (std::is_same_v<V, T>) {
          result = x;
        } else if constexpr (std::is_arithmetic_v<V> && std::is_arithmetic_v<T> &&
                             !std::is_same_v<V, bool>) {
          if constexpr (std::is_integral_v<V> && std::is_integral_v<T>)
            result = std::in_range<T>(x) ? std::optional(T(x)) : std::nullopt;
          else if constexpr (!std::is_integral_v<T>)
            result = T(x);
        }
      },
      static_cast<const GgufValue::variant&>(value));
  if (!result) place.fail(expected, std::string("a value of type ") + type_names[value.index()]);
  return *result;
}

const GgufArray& array_in(const GgufValue& value, const Place& place) {
  if (const auto* array = std::get_if<GgufArray>(&value)) return *array;
  place.fail("an array", std::string("a value of type ") + type_names[value.index()]);
}

template <class T>
std::vector<T> all_of(const GgufValue& value, const char* expected, const Place& place) {
  std::vector<T> values;
  const GgufArray& array = array_in(value, place);
  values.reserve(array.values.size());
  for (const char byte : array.bytes)
    values.push_back(as<T>(GgufValue(uint8_t(byte)), expected, place[values.size()]));
  for (const GgufValue& one : array.values)
    values.push_back(as<T>(one, expected, place[values.size()]));
  return values;
}

}  // namespace

int64_t Gguf::integer(std::string_view key) const {
  return as<int64_t>(at(key), "a whole number", place(key));
}
double Gguf::number(std::string_view key) const {
  return as<double>(at(key), "a number", place(key));
}
const std::string& Gguf::text(std::string_view key) const {
  const GgufValue& value = at(key);
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  place(key).fail("a text", std::string("a value of type ") + type_names[value.index()]);
}
std::vector<std::string> Gguf::texts(std::string_view key) const {
  return all_of<std::string>(at(key), "a text", place(key));
}
std::vector<double> Gguf::numbers(std::string_view key) const {
  return all_of<double>(at(key), "a number", place(key));
}

const std::string& Gguf::bytes(std::string_view key) const {
  const auto* array = std::get_if<GgufArray>(&at(key));
  if (!array) return text(key);
  if (array->type != 0) place(key).fail("a text or bytes", "an array of something else");
  return array->bytes;
}

bool is_gguf(const Path& file) {
  if (!std::filesystem::is_regular_file(file)) return false;
  uint32_t first = 0;
  std::ifstream in(file, std::ios::binary);
  return in.read(reinterpret_cast<char*>(&first), sizeof first) && first == magic;
}

}  // namespace revenant
