#include "train/quantized.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>

#include "quant/int8.h"
#include "quant/nf4.h"
#include "train/device.h"
#include "train/each_isa.h"

namespace revenant {
namespace {

using torch::Tensor;
using Kind = QuantizedBase::Kind;

constexpr int64_t kTile = int64_t(1) << 20;  // values that are floats at a time, about
constexpr float kInverse127 = 1.0f / 127;

template <class T>
Tensor tensor_of(const std::vector<T>& values) {
  return torch::tensor(at::ArrayRef<T>(values.data(), values.size()),
                       c10::CppTypeToScalarType<T>::value);
}

int64_t tile_rows(const QuantizedMatrix& matrix) {
  return std::max<int64_t>(16, kTile / matrix.stored->columns / 16 * 16);
}

EACH_ISA void int8_row(const int8_t* values, float absmax, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = float(values[i]) * absmax * kInverse127;
}

// Both values of a byte.
struct Nf4Pairs {
  float of[256][2];
  Nf4Pairs() {
    for (size_t i = 0; i < 256; ++i) of[i][0] = nf4_code[i >> 4], of[i][1] = nf4_code[i & 15];
  }
};

EACH_ISA void nf4_pairs(const uint8_t* packed, const float (*pairs)[2], float scale, int64_t bytes,
                        float* out) {
  for (int64_t i = 0; i < bytes; ++i) {
    out[2 * i] = pairs[packed[i]][0] * scale;
    out[2 * i + 1] = pairs[packed[i]][1] * scale;
  }
}

// Values [begin, end) of the flattened tensor. Blocks may begin within a row and end in another.
void nf4_values(const QuantizedTensor& t, int64_t begin, int64_t end, float* out) {
  static const Nf4Pairs pairs;
  const auto* packed = t.values.const_data_ptr<uint8_t>();
  const auto* scales = t.scales.const_data_ptr<uint8_t>();
  const auto* scales2 = t.scales2.const_data_ptr<float>();
  const auto& code = nf4_scale_code();
  while (begin < end) {
    const int64_t block = begin / nf4_block, stop = std::min(end, (block + 1) * nf4_block);
    const float scale = code[scales[block]] * scales2[block / nf4_scale_block] + t.offset;
    if (begin % 2 != 0) *out++ = pairs.of[packed[begin++ / 2]][1] * scale;
    const int64_t whole = (stop - begin) / 2;
    nf4_pairs(packed + begin / 2, pairs.of, scale, whole, out);
    begin += 2 * whole, out += 2 * whole;
    if (begin < stop) *out++ = pairs.of[packed[begin++ / 2]][0] * scale;
  }
}

struct Held : torch::CustomClassHolder {
  explicit Held(QuantizedMatrix m) : matrix(std::move(m)) {}
  QuantizedMatrix matrix;
};

// Calls each(first row, its tile in x's type).
template <class Each>
void for_tiles(const QuantizedMatrix& matrix, torch::Dtype dtype, const Each& each) {
  const int64_t step = tile_rows(matrix);
  for (int64_t row = 0; row < matrix.rows; row += step)
    each(row, dequantized(matrix, row, std::min(matrix.rows, row + step)).to(dtype));
}

struct Times : torch::autograd::Function<Times> {
  using Context = torch::autograd::AutogradContext;

  static Tensor forward(Context* context, const Tensor& x, const c10::intrusive_ptr<Held>& held) {
    context->saved_data["held"] = c10::IValue::make_capsule(held);
    const NoAutocast no_autocast;
    std::vector<Tensor> columns;
    for_tiles(held->matrix, x.scalar_type(),
              [&](int64_t, const Tensor& tile) { columns.push_back(torch::mm(x, tile.t())); });
    return columns.size() == 1 ? columns[0] : torch::cat(columns, 1);
  }

  // Sums over the tiles are float32 or wider.
  static torch::autograd::tensor_list backward(Context* context,
                                               const torch::autograd::tensor_list& gradients) {
    const auto capsule = context->saved_data["held"].toCapsule();
    const QuantizedMatrix& matrix = static_cast<const Held&>(*capsule).matrix;
    const NoAutocast no_autocast;
    const Tensor& g = gradients[0];
    const auto wide = torch::promote_types(g.scalar_type(), torch::kFloat32);
    Tensor sum;
    for_tiles(matrix, g.scalar_type(), [&](int64_t row, const Tensor& tile) {
      const Tensor part = torch::mm(g.narrow(1, row, tile.size(0)), tile).to(wide);
      sum = sum.defined() ? sum.add_(part) : part;
    });
    return {sum.to(g.scalar_type()), Tensor()};
  }
};

}  // namespace

QuantizedTensor quantized(Kind kind, const std::vector<float>& values, int64_t rows,
                          int64_t columns) {
  QuantizedTensor t{kind, rows, columns, {}, {}, {}};
  if (kind == Kind::int8) {
    const Int8Matrix m = quantize_int8(values, rows, columns);
    t.values = tensor_of(m.values).view({rows, columns});
    t.scales = tensor_of(m.absmax);
  } else {
    const DoubleNf4 m = quantize_nf4_double(values);
    t.values = tensor_of(m.packed);
    t.scales = tensor_of(m.scales.values);
    t.scales2 = tensor_of(m.scales.absmax2);
    t.offset = m.scales.offset;
  }
  return t;
}

QuantizedTensor on(torch::Device device, QuantizedTensor tensor) {
  for (Tensor* part : {&tensor.values, &tensor.scales, &tensor.scales2})
    if (part->defined()) *part = part->to(device);
  return tensor;
}

Tensor dequantized(const QuantizedMatrix& matrix, int64_t first, int64_t last) {
  const QuantizedTensor& t = *matrix.stored;
  if (!t.values.is_cpu()) return composed::dequantized(matrix, first, last);
  const Tensor rows = torch::empty({last - first, t.columns}, torch::kFloat32);
  auto* out = rows.data_ptr<float>();
  at::parallel_for(first, last, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t row = matrix.map(r);
      float* const to = out + (r - first) * t.columns;
      if (t.kind == Kind::int8)
        int8_row(t.values.const_data_ptr<int8_t>() + row * t.columns,
                 t.scales.const_data_ptr<float>()[row], t.columns, to);
      else
        nf4_values(t, row * t.columns, (row + 1) * t.columns, to);
    }
  });
  return rows;
}

Tensor composed::dequantized(const QuantizedMatrix& matrix, int64_t first, int64_t last) {
  const QuantizedTensor& t = *matrix.stored;
  std::vector<int64_t> places;
  for (int64_t r = first; r < last; ++r) places.push_back(matrix.map(r));
  const torch::Device device = t.values.device();
  const Tensor rows = indices(places, device);
  if (t.kind == Kind::int8)
    return t.values.index_select(0, rows).to(torch::kFloat32) *
           t.scales.index_select(0, rows).unsqueeze(1) * kInverse127;
  // [rows, columns] places in the flattened tensor
  const Tensor at = rows.unsqueeze(1) * t.columns + torch::arange(t.columns, rows.options());
  const auto table = [&](const float* values, int64_t n) {
    return torch::tensor(at::ArrayRef<float>(values, size_t(n))).to(device);
  };
  const auto looked_up = [](const Tensor& of, const Tensor& where) {
    return of.index_select(0, where.flatten().to(torch::kLong)).view(where.sizes());
  };
  const Tensor bytes = looked_up(t.values, at.div(2, "floor")).to(torch::kLong);
  const Tensor halves = torch::where(at.remainder(2) == 0, bytes.div(16, "floor"), bytes % 16);
  const Tensor block = at.div(nf4_block, "floor");
  const Tensor scale = looked_up(table(nf4_scale_code().data(), 256), looked_up(t.scales, block)) *
                           looked_up(t.scales2, block.div(nf4_scale_block, "floor")) +
                       t.offset;
  return looked_up(table(nf4_code.data(), 16), halves) * scale;
}

Tensor times(const Tensor& x, const QuantizedMatrix& matrix) {
  const bool narrow = Autocast::is_on(x.device());
  const Tensor y =
      Times::apply(narrow ? x.to(torch::kBFloat16) : x, c10::make_intrusive<Held>(matrix));
  return Autocast::in_products_alone() ? y.to(torch::kFloat32) : y;
}

}  // namespace revenant
