// LLM.int8 (Dettmers et al. 2022) as the released loaders use it: 8-bit rows with one scale each,
// and input columns with large values kept out of the 8-bit product. These are the plain loops that
// define the numbers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace revenant {

// x[r, c] ~ values[r * cols + c] * absmax[r] / 127
struct Int8Matrix {
  int64_t rows = 0, cols = 0;
  std::vector<int8_t> values;
  std::vector<float> absmax;  // of a row
};

// What an input becomes: `columns` (ascending) are zero in `quantized`, and values of at least the
// threshold do not count for its absmax. A row with NaN has absmax NaN and so a NaN output.
struct Int8Input {
  Int8Matrix quantized;
  std::vector<int64_t> columns;
};

// Whose large values make a column an outlier: each row's own (rows stay independent of their
// batch), or any row's of the sequence (the original).
enum class Outliers { per_row, per_sequence };

constexpr float int8_threshold = 6.0f;  // the released loaders'; 0 means no outliers

// Weight [rows, cols], row-major. Throws Error unless all values are finite.
Int8Matrix quantize_int8(std::span<const float> weight, int64_t rows, int64_t cols);
std::vector<float> dequantize_int8(const Int8Matrix& matrix);
Int8Input quantize_int8_input(std::span<const float> x, int64_t rows, int64_t cols,
                              float threshold = int8_threshold);

// a [n, k] times b [m, k], exactly: [n, m]. k is at most 2^17, where int32 would overflow.
std::vector<int32_t> dot_int8(const Int8Matrix& a, const Int8Matrix& b);

// x [rows, k], weight [m, k], bias [m] or empty: [rows, m]. With per_sequence, `x` is one sequence.
std::vector<float> matmul_int8(std::span<const float> x, int64_t rows, const Int8Matrix& weight,
                               std::span<const float> bias = {},
                               Outliers outliers = Outliers::per_row,
                               float threshold = int8_threshold);

}  // namespace revenant
