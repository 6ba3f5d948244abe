#include "io/tensor.h"

#include <cstring>

#include "base/error.h"

namespace revenant {
namespace {

// Reads one element from an address of any alignment.
template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <class Stored, class Wanted, class Convert>
std::vector<Wanted> convert(const TensorView& tensor, Convert to) {
  const size_t count = tensor.data.size() / sizeof(Stored);
  std::vector<Wanted> values(count);
  for (size_t i = 0; i < count; ++i) {
    values[i] = to(load<Stored>(tensor.data.data() + i * sizeof(Stored)));
  }
  return values;
}

template <class Stored>
std::vector<int64_t> widen(const TensorView& tensor) {
  return convert<Stored, int64_t>(tensor, [](Stored x) { return int64_t(x); });
}

}  // namespace

int64_t TensorView::count() const { return int64_t(data.size() / size_of(dtype)); }

TensorSource source_of(const NamedTensor& tensor) {
  const auto data = tensor.view.data;
  return {tensor.name, tensor.view.dtype, tensor.view.shape,
          [data](const Sink& sink) { sink(data); }};
}

std::string to_string(DType type) {
  switch (type) {
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    case DType::f64:
      return "F64";
    case DType::i64:
      return "I64";
    case DType::i32:
      return "I32";
    case DType::i16:
      return "I16";
    case DType::i8:
      return "I8";
    case DType::u8:
      return "U8";
    case DType::boolean:
      return "BOOL";
  }
  return "?";
}

std::optional<uint64_t> byte_count(DType type, const std::vector<int64_t>& shape) {
  uint64_t bytes = size_of(type);
  for (const int64_t n : shape) {
    if (n < 0 || __builtin_mul_overflow(bytes, uint64_t(n), &bytes)) return std::nullopt;
  }
  return bytes;
}

std::vector<float> to_floats(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::f32:
      return convert<float, float>(tensor, [](float x) { return x; });
    case DType::f64:
      return convert<double, float>(tensor, [](double x) { return float(x); });
    case DType::f16:
      return convert<uint16_t, float>(tensor, to_float_f16);
    case DType::bf16:
      return convert<uint16_t, float>(tensor, to_float_bf16);
    default:
      throw Error("tensor", "to_floats", "F32, F16, BF16 or F64", to_string(tensor.dtype));
  }
}

std::vector<int64_t> to_ints(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::i64:
      return widen<int64_t>(tensor);
    case DType::i32:
      return widen<int32_t>(tensor);
    case DType::i16:
      return widen<int16_t>(tensor);
    case DType::i8:
      return widen<int8_t>(tensor);
    case DType::u8:
    case DType::boolean:
      return widen<uint8_t>(tensor);
    default:
      throw Error("tensor", "to_ints", "I64, I32, I16, I8, U8 or BOOL", to_string(tensor.dtype));
  }
}

}  // namespace revenant
