#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/random.h"
#include "quant/int8.h"
#include "quant/nf4.h"
#include "quant/released.h"

namespace revenant {
namespace {

std::vector<float> normal(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> x(count);
  for (float& v : x) v = float(random.normal());
  return x;
}

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

TEST(Int8, ErrorIsAtMostHalfAStep) {
  const auto x = normal(12 * 33, 1);
  const Int8Matrix q = quantize_int8(x, 12, 33);
  const auto back = dequantize_int8(q);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(back[i], x[i], q.absmax[i / 33] / 127 * 0.5001f);
  }
}

TEST(Int8, EdgesOfRows) {
  const std::vector<float> x = {0, 0, -2, 2, 1e-40f, 0};
  const Int8Matrix q = quantize_int8(x, 3, 2);
  EXPECT_EQ(q.values[0], 0);
  EXPECT_EQ(q.values[2], -127);
  EXPECT_EQ(q.values[3], 127);
  EXPECT_EQ(quantize_int8({}, 0, 5).values.size(), 0u);
  EXPECT_THROW(quantize_int8(std::vector<float>{1, nan}, 1, 2), Error);
  EXPECT_THROW(quantize_int8(std::vector<float>{1, infinity}, 1, 2), Error);
  EXPECT_THROW(quantize_int8(x, 2, 2), CheckFailed);
}

// A row's outcome must not depend on what else is in its batch; in the original it does.
TEST(Int8, PerRowOutliersKeepRowsApart) {
  auto x = normal(2 * 16, 2);
  x[16 + 3] = 9;  // an outlier of row 1 only
  const Int8Matrix w = quantize_int8(normal(4 * 16, 3), 4, 16);
  const auto together = matmul_int8(x, 2, w);
  const auto alone = matmul_int8(std::span(x).first(16), 1, w);
  const auto original = matmul_int8(x, 2, w, {}, Outliers::per_sequence);
  EXPECT_EQ(std::vector(together.begin(), together.begin() + 4), alone);
  EXPECT_NE(std::vector(original.begin(), original.begin() + 4), alone);
  EXPECT_EQ(std::vector(together.begin() + 4, together.end()),
            std::vector(original.begin() + 4, original.end()));
}

TEST(Int8, OutliersAreMultipliedExactly) {
  std::vector<float> x(8, 0);
  x[2] = 100;
  x[5] = -6;
  const Int8Matrix w = quantize_int8(normal(8, 4), 1, 8);
  const auto plain = dequantize_int8(w);
  const float bias = 0.5f;
  EXPECT_FLOAT_EQ(matmul_int8(x, 1, w, {&bias, 1})[0], 0.5f + 100 * plain[2] - 6 * plain[5]);
}

TEST(Int8, NanComesThrough) {
  std::vector<float> x = {1, nan, 2, 3};
  const Int8Matrix w = quantize_int8(normal(8, 5), 2, 4);
  for (const auto how : {Outliers::per_row, Outliers::per_sequence}) {
    for (const float y : matmul_int8(x, 1, w, {}, how)) EXPECT_TRUE(std::isnan(y));
  }
}

TEST(Nf4, TableEntriesSurvive) {
  const std::vector<float> x(nf4_code.begin(), nf4_code.end());
  EXPECT_EQ(dequantize_nf4(quantize_nf4(x)), x);
  EXPECT_EQ(quantize_nf4(x).packed[0], 0x01);  // the first element in the high half
}

TEST(Nf4, TiesGoToTheLowerEntry) {
  const float middle = nf4_code[7] + (nf4_code[8] - nf4_code[7]) / 2;  // code[7] is 0
  EXPECT_EQ(quantize_nf4(std::vector<float>{1, middle}).packed[0], 0xf7);
  EXPECT_EQ(quantize_nf4(std::vector<float>{1, std::nextafter(middle, 1.0f)}).packed[0], 0xf8);
}

TEST(Nf4, ShortAndOddAndZeroBlocks) {
  for (const size_t count : {0u, 1u, 63u, 65u, 129u}) {
    const auto x = normal(count, count);
    const auto back = dequantize_nf4(quantize_nf4_double(x));
    ASSERT_EQ(back.size(), count);
    for (size_t i = 0; i < count; ++i) EXPECT_NEAR(back[i], x[i], 0.7f);
  }
  EXPECT_EQ(dequantize_nf4(quantize_nf4(std::vector<float>(70, 0.0f))), std::vector<float>(70));
  EXPECT_THROW(quantize_nf4(std::vector<float>{nan}), Error);
  EXPECT_THROW(dequantize_nf4(Nf4{3, {0}, {1}}), CheckFailed);
}

TEST(Nf4, TablesAscend) {
  EXPECT_TRUE(std::is_sorted(nf4_code.begin(), nf4_code.end(), std::less_equal<>()));
  const auto& code = nf4_scale_code();
  EXPECT_TRUE(std::is_sorted(code.begin(), code.end(), std::less_equal<>()));
}

TEST(Released, UnknownModelIsAnError) {
  EXPECT_EQ(released_quantizations().size(), 7u);
  EXPECT_THROW(released_quantization("phantom-13b"), Error);
}

}  // namespace
}  // namespace revenant
