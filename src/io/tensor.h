// A stored tensor as it lies in a file: element type, shape and raw little-endian bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace revenant {

// `data` need not be aligned to the element: read it with to_floats, to_ints or memcpy.
struct TensorView {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  // [] is a scalar
  std::span<const std::byte> data;
  int64_t count() const;
};

// Receives the next bytes of a tensor that is being written.
using Sink = std::function<void(std::span<const std::byte>)>;

// A tensor that is made while it is written, so that no checkpoint need fit in memory. `produce`
// gives its bytes, in any number of pieces.
struct TensorSource {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  std::function<void(const Sink&)> produce;
};

struct NamedTensor {
  std::string name;
  TensorView view;
};

TensorSource source_of(const NamedTensor& tensor);  // the bytes must outlive the source

std::string to_string(DType type);  // safetensors' names: "F32", "BF16", "BOOL", ...

// prod(shape) * size_of(dtype); nothing if a dimension is negative or the product overflows.
std::optional<uint64_t> byte_count(DType type, const std::vector<int64_t>& shape);

std::vector<float> to_floats(const TensorView& tensor);  // F32, F16, BF16, F64; others throw
std::vector<int64_t> to_ints(const TensorView& tensor);  // I64, I32, I16, I8, U8, BOOL

}  // namespace revenant
