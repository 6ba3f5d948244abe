#include "quant/int8.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace revenant {
namespace {

// Rounded as in bitsandbytes, whose 1/127^2 is a little off.
constexpr float inverse_127 = 1.0f / 127, inverse_127_squared = 6.200124e-05f;

void check_size(size_t size, int64_t rows, int64_t cols) {
  CHECK(rows >= 0 && cols >= 0 && size == size_t(rows) * size_t(cols));
}

// Of the values below the threshold (0: of all); NaN stays NaN.
float absmax_below(std::span<const float> row, float threshold) {
  float largest = 0;
  for (const float x : row) {
    const float size = std::fabs(x);
    if (threshold > 0 && size >= threshold) continue;
    largest = std::isnan(size) || size > largest ? size : largest;
  }
  return largest;
}

// Nearest, ties to even; a row of zeros, or with NaN, becomes zeros.
void quantize_row(std::span<const float> row, float absmax, int8_t* values) {
  const float scale = absmax > 0 ? 127 * (1 / absmax) : 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const float scaled = row[i] * scale;
    values[i] = std::fabs(scaled) <= 127.5f ? int8_t(std::nearbyint(scaled)) : int8_t(0);
  }
}

Int8Matrix quantize_rows(std::span<const float> x, int64_t rows, int64_t cols, float threshold) {
  Int8Matrix matrix{rows, cols, std::vector<int8_t>(x.size()), std::vector<float>(size_t(rows))};
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = x.subspan(size_t(r * cols), size_t(cols));
    matrix.absmax[size_t(r)] = absmax_below(row, threshold);
    quantize_row(row, matrix.absmax[size_t(r)], matrix.values.data() + r * cols);
  }
  return matrix;
}

std::vector<int64_t> outlier_columns(std::span<const float> x, int64_t rows, int64_t cols,
                                     float threshold) {
  std::vector<int64_t> columns;
  for (int64_t c = 0; threshold > 0 && c < cols; ++c) {
    for (int64_t r = 0; r < rows; ++r) {
      if (!(std::fabs(x[size_t(r * cols + c)]) >= threshold)) continue;
      columns.push_back(c);
      break;
    }
  }
  return columns;
}

float dequantized(const Int8Matrix& m, int64_t r, int64_t c) {
  return float(m.values[size_t(r * m.cols + c)]) * m.absmax[size_t(r)] * inverse_127;
}

// All rows of `x` share their outlier columns.
std::vector<float> matmul_sequence(std::span<const float> x, int64_t rows, const Int8Matrix& w,
                                   std::span<const float> bias, float threshold) {
  const Int8Input input = quantize_int8_input(x, rows, w.cols, threshold);
  const std::vector<int32_t> dots = dot_int8(input.quantized, w);
  std::vector<float> y(dots.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t m = 0; m < w.rows; ++m) {
      float exact = 0;
      for (const int64_t c : input.columns) {
        exact = std::fma(x[size_t(r * w.cols + c)], dequantized(w, m, c), exact);
      }
      const float scale = input.quantized.absmax[size_t(r)] * w.absmax[size_t(m)];
      const float product = float(dots[size_t(r * w.rows + m)]) * scale * inverse_127_squared;
      y[size_t(r * w.rows + m)] = product + (bias.empty() ? 0 : bias[size_t(m)]) + exact;
    }
  }
  return y;
}

}  // namespace

Int8Matrix quantize_int8(std::span<const float> weight, int64_t rows, int64_t cols) {
  check_size(weight.size(), rows, cols);
  for (const float x : weight) {
    if (!std::isfinite(x)) throw Error("quant", "int8", "finite weights", std::to_string(x));
  }
  return quantize_rows(weight, rows, cols, 0);
}

std::vector<float> dequantize_int8(const Int8Matrix& matrix) {
  std::vector<float> x;
  x.reserve(matrix.values.size());
  for (int64_t r = 0; r < matrix.rows; ++r) {
    for (int64_t c = 0; c < matrix.cols; ++c) x.push_back(dequantized(matrix, r, c));
  }
  return x;
}

Int8Input quantize_int8_input(std::span<const float> x, int64_t rows, int64_t cols,
                              float threshold) {
  check_size(x.size(), rows, cols);
  Int8Input input{quantize_rows(x, rows, cols, threshold),
                  outlier_columns(x, rows, cols, threshold)};
  for (int64_t r = 0; r < rows; ++r) {
    for (const int64_t c : input.columns) input.quantized.values[size_t(r * cols + c)] = 0;
  }
  return input;
}

std::vector<int32_t> dot_int8(const Int8Matrix& a, const Int8Matrix& b) {
  CHECK(a.cols == b.cols && a.cols <= int64_t(1) << 17);
  std::vector<int32_t> dots;
  dots.reserve(size_t(a.rows * b.rows));
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t m = 0; m < b.rows; ++m) {
      int32_t sum = 0;
      for (int64_t k = 0; k < a.cols; ++k) {
        sum += int32_t(a.values[size_t(r * a.cols + k)]) * b.values[size_t(m * b.cols + k)];
      }
      dots.push_back(sum);
    }
  }
  return dots;
}

std::vector<float> matmul_int8(std::span<const float> x, int64_t rows, const Int8Matrix& weight,
                               std::span<const float> bias, Outliers outliers, float threshold) {
  check_size(x.size(), rows, weight.cols);
  CHECK(bias.empty() || int64_t(bias.size()) == weight.rows);
  if (outliers == Outliers::per_sequence) return matmul_sequence(x, rows, weight, bias, threshold);
  std::vector<float> y;
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = x.subspan(size_t(r * weight.cols), size_t(weight.cols));
    const auto part = matmul_sequence(row, 1, weight, bias, threshold);
    y.insert(y.end(), part.begin(), part.end());
  }
  return y;
}

}  // namespace revenant
