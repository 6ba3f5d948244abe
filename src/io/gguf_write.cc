#include "base/place.h"
#include "io/gguf.h"

namespace revenant {
namespace {

constexpr uint64_t alignment = 64;  // of tensors, a cache line

uint64_t aligned(uint64_t size) { return (size + alignment - 1) / alignment * alignment; }

template <class T>
GgufValue array_of(const std::vector<T>& values, uint32_t type) {
  GgufArray array{type, {}, {}};
  for (const T& value : values) array.values.emplace_back(value);
  return array;
}

// What a header needs, appended to it.
struct Writer {
  std::string bytes;

  template <class T>
  void number(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(std::string_view text) {
    number(uint64_t(text.size()));
    bytes += text;
  }
  void value(const GgufValue& value) {
    std::visit(
        [&]<class T>(const T& x) {
          if constexpr (std::is_same_v<T, std::string>) {
            text(x);
          } else if constexpr (std::is_same_v<T, GgufArray>) {
            number(x.type);
            number(uint64_t(x.values.size() + x.bytes.size()));
            bytes += x.bytes;
            for (const GgufValue& one : x.values) {
              CHECK(one.index() == x.type);
              this->value(one);
            }
          } else {
            number(x);
          }
        },
        static_cast<const GgufValue::variant&>(value));
  }
  void key(std::string_view name, const GgufValue& value) {
    text(name);
    number(uint32_t(value.index()));
    this->value(value);
  }
};

uint64_t bytes_of(const GgufSource& tensor) {
  uint64_t rows = 1;
  for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) rows *= uint64_t(tensor.shape[i]);
  const size_t columns = tensor.shape.empty() ? 1 : size_t(tensor.shape.back());
  return rows * (tensor.format ? row_bytes(*tensor.format, columns) : columns);
}

std::string header_of(const GgufKeys& keys, std::span<const GgufSource> tensors) {
  Writer w;
  w.number(uint32_t(0x46554747));
  w.number(uint32_t(3));
  w.number(uint64_t(tensors.size()));
  w.number(uint64_t(keys.size() + 1));
  w.key("general.alignment", uint32_t(alignment));
  for (const auto& [name, value] : keys) w.key(name, value);
  uint64_t offset = 0;
  for (const GgufSource& tensor : tensors) {
    w.text(tensor.name);
    w.number(uint32_t(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent)
      w.number(uint64_t(*extent));
    w.number(tensor.format ? info(*tensor.format).ggml_type : gguf_i8);
    w.number(offset);
    offset = aligned(offset + bytes_of(tensor));
  }
  w.bytes.resize(aligned(w.bytes.size()), '\0');
  return std::move(w.bytes);
}

}  // namespace

GgufValue gguf_array(const std::vector<std::string>& values) { return array_of(values, 8); }
GgufValue gguf_array(const std::vector<int32_t>& values) { return array_of(values, 5); }
GgufValue gguf_array(const std::vector<float>& values) { return array_of(values, 6); }

GgufValue gguf_bytes(std::string_view bytes) { return GgufArray{0, {}, std::string(bytes)}; }

void write_gguf(const Path& path, const GgufKeys& keys, std::span<const GgufSource> tensors) {
  const Place file{"gguf", path.string()};
  AtomicFile out(path);
  out.write(header_of(keys, tensors));
  const std::string zeros(alignment, '\0');
  for (const GgufSource& tensor : tensors) {
    const uint64_t expected = bytes_of(tensor);
    uint64_t written = 0;
    tensor.produce([&](std::span<const std::byte> piece) {
      out.write(piece.data(), piece.size());
      written += piece.size();
    });
    if (written != expected)
      (file / tensor.name).fail(std::to_string(expected) + " bytes", std::to_string(written));
    out.write(zeros.data(), aligned(written) - written);
  }
  out.commit();
}

}  // namespace revenant
