#include "kernels/guarded.h"

namespace revenant {
namespace {

constexpr float untouched = -12345.0f;

// Weights in all three types, and what they mean as floats.
struct Weights {
  Guarded<float> f32;
  Guarded<uint16_t> f16, bf16;
};

Weights make_weights(size_t n, uint64_t seed) {
  Weights w{normals(n, seed), Guarded<uint16_t>(n), Guarded<uint16_t>(n)};
  for (size_t i = 0; i < n; ++i) w.f16[i] = to_f16(w.f32[i]), w.bf16[i] = to_bf16(w.f32[i]);
  return w;
}

constexpr WeightType types[] = {WeightType::f32, WeightType::f16, WeightType::bf16};

double value(const Weights& w, WeightType type, size_t i) {
  if (type == WeightType::f32) return w.f32[i];
  return type == WeightType::f16 ? to_float_f16(w.f16[i]) : to_float_bf16(w.bf16[i]);
}

// The weights from row j on of [n, k].
const void* from(const Weights& w, WeightType type, size_t j, size_t k) {
  if (type == WeightType::f32) return w.f32.data() + j * k;
  return (type == WeightType::f16 ? w.f16 : w.bf16).data() + j * k;
}

struct Case {
  size_t rows, n, k;
};

// out[r, j] against double: every one of k/8 + 8 additions may cost half a unit of sum |terms|.
void check_against_double(const Kernels& table, const Case& c, WeightType type, bool with_bias) {
  const size_t x_stride = c.k + 3, out_stride = c.n + 2;
  const auto x = normals((c.rows - 1) * x_stride + c.k, 1), bias = normals(c.n, 3);
  const Weights w = make_weights(c.n * c.k, 2);
  Guarded<float> out((c.rows - 1) * out_stride + c.n, untouched);
  table.linear(x.data(), c.rows, x_stride, from(w, type, 0, c.k), type, c.n, c.k,
               with_bias ? bias.data() : nullptr, out.data(), out_stride);
  for (size_t r = 0; r < c.rows; ++r)
    for (size_t j = 0; j < c.n; ++j) {
      double expected = with_bias ? bias[j] : 0, magnitude = std::abs(expected);
      for (size_t i = 0; i < c.k; ++i) {
        const double term = double(x[r * x_stride + i]) * value(w, type, j * c.k + i);
        expected += term, magnitude += std::abs(term);
      }
      ASSERT_NEAR(out[r * out_stride + j], expected, (double(c.k) / 8 + 8) * 0x1p-24 * magnitude)
          << table.isa << " row " << r << " output " << j << " of " << c.rows << "x" << c.n << "x"
          << c.k;
    }
  for (size_t r = 0; r + 1 < c.rows; ++r)
    for (size_t j = c.n; j < out_stride; ++j) ASSERT_EQ(out[r * out_stride + j], untouched);
}

EACH_TABLE(Linear);

TEST_P(Linear, EqualsDoubleWithinRounding) {
  std::vector<Case> cases = {{1, 9, 896},  {7, 17, 1300}, {100, 5, 641},
                             {5, 1, 2000}, {197, 3, 40},  {13, 9, 12000}};
  for (size_t k = 1; k <= 33; ++k) cases.push_back({k % 5 + 1, k % 11 + 1, k});

  for (const Case& c : cases)
    for (WeightType type : types) check_against_double(*table, c, type, c.k % 2 == 0);
}

// All results of `rows` rows in one call.
Guarded<float> product(const Kernels& table, const float* x, size_t rows, const Weights& w,
                       WeightType type, size_t j, size_t n, size_t k) {
  Guarded<float> out(rows * n);
  table.linear(x, rows, k, from(w, type, j, k), type, n, k, nullptr, out.data(), n);
  return out;
}

TEST_P(Linear, RowIsTheSameInAnyCompany) {
  const size_t n = 19, most = 200;

  for (size_t k : {5, 64, 333, 641, 1300, 2100})
    for (WeightType type : types) {
      const auto x = normals(most * k, k);
      const Weights w = make_weights(n * k, k + 1);
      const auto all = product(*table, x.data(), most, w, type, 0, n, k);
      for (size_t r = 0; r < most; ++r)
        ASSERT_TRUE(same(product(*table, x.data() + r * k, 1, w, type, 0, n, k).data(),
                         all.data() + r * n, n))
            << table->isa << " row " << r << " k " << k;
      for (size_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 64, 97})
        ASSERT_TRUE(
            same(product(*table, x.data(), rows, w, type, 0, n, k).data(), all.data(), rows * n))
            << table->isa << " rows " << rows << " k " << k;
    }
}

TEST_P(Linear, OutputIsTheSameInAnySplit) {
  const size_t n = 40, k = 333;
  const auto x = normals(11 * k, 7);
  const Weights w = make_weights(n * k, 8);

  for (size_t rows : {1, 2, 3, 11}) {
    const auto all = product(*table, x.data(), rows, w, WeightType::bf16, 0, n, k);
    for (size_t part = 1; part <= 17; ++part)
      for (size_t j = 0; j < n; j += part) {
        const size_t count = std::min(part, n - j);
        const auto some = product(*table, x.data(), rows, w, WeightType::bf16, j, count, k);
        for (size_t r = 0; r < rows; ++r)
          ASSERT_TRUE(same(some.data() + r * count, all.data() + r * n + j, count))
              << table->isa << " rows " << rows << " outputs from " << j << " by " << part;
      }
  }
}

TEST_P(Linear, EverySixteenBitWeightMeansWhatItSays) {
  Guarded<uint16_t> w(65536);
  for (size_t i = 0; i < w.size(); ++i) w[i] = uint16_t(i);
  const float one = 1;

  for (WeightType type : {WeightType::f16, WeightType::bf16}) {
    Guarded<float> out(w.size());
    table->linear(&one, 1, 1, w.data(), type, w.size(), 1, nullptr, out.data(), w.size());
    for (size_t i = 0; i < w.size(); ++i) {
      const float expected = type == WeightType::f16 ? to_float_f16(w[i]) : to_float_bf16(w[i]);
      ASSERT_TRUE(std::isnan(expected) ? std::isnan(out[i]) : expected == out[i])
          << table->isa << " " << i;
    }
  }
}

TEST_P(Linear, EmptyIsNothing) {
  float x = 1, w = 1, out = untouched;
  table->linear(&x, 0, 1, &w, WeightType::f32, 1, 1, nullptr, &out, 1);
  table->linear(&x, 1, 1, &w, WeightType::f32, 0, 1, nullptr, &out, 1);
  EXPECT_EQ(out, untouched);
}

}  // namespace
}  // namespace revenant
