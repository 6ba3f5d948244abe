// Products of f32, f16 and bf16 weights.
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

struct Type {
  Format format;
  bool brain_inputs = false;
};
constexpr Type types[] = {{Format::f32}, {Format::f16}, {Format::bf16}, {Format::bf16, true}};

double value(const Weights& w, Type type, size_t i) {
  if (type.format == Format::f32) return w.f32[i];
  return type.format == Format::f16 ? to_float_f16(w.f16[i]) : to_float_bf16(w.bf16[i]);
}

// Outputs [j, j + n) of weights [.., k].
WeightView view(const Weights& w, Type type, size_t j, size_t n, size_t k) {
  if (type.format == Format::f32) return {type.format, w.f32.data() + j * k, n, k};
  const auto& halves = type.format == Format::f16 ? w.f16 : w.bf16;
  return {type.format, halves.data() + j * k, n, k, type.brain_inputs};
}

// What the weights meet.
float met(float x, Type type) { return type.brain_inputs ? to_float_bf16(to_bf16(x)) : x; }

struct Case {
  size_t rows, n, k;
};

// out[r, j] against double: every one of k/8 + 8 additions may cost half a unit of sum |terms|.
void check_against_double(const Kernels& table, const Case& c, Type type, bool with_bias) {
  const auto x = normals(c.rows * c.k, 1), bias = normals(c.n, 3);
  const Weights w = make_weights(c.n * c.k, 2);
  const auto out = product_of(table, view(w, type, 0, c.n, c.k), x.data(), c.rows,
                              with_bias ? bias.data() : nullptr);
  for (size_t r = 0; r < c.rows; ++r)
    for (size_t j = 0; j < c.n; ++j) {
      double expected = with_bias ? bias[j] : 0, magnitude = std::abs(expected);
      for (size_t i = 0; i < c.k; ++i) {
        const double term = double(met(x[r * c.k + i], type)) * value(w, type, j * c.k + i);
        expected += term, magnitude += std::abs(term);
      }
      ASSERT_NEAR(out[r * c.n + j], expected, (double(c.k) / 8 + 8) * 0x1p-24 * magnitude)
          << table.isa << " row " << r << " output " << j << " of " << c.rows << "x" << c.n << "x"
          << c.k;
    }
}

EACH_TABLE(Linear);

TEST_P(Linear, EqualsDoubleWithinRounding) {
  std::vector<Case> cases = {{1, 9, 896},  {7, 17, 1300}, {100, 5, 641},
                             {5, 1, 2000}, {197, 3, 40},  {13, 9, 12000}};
  for (const size_t edge : {15, 16, 17, 31, 32, 33, 49})  // of AMX's tiles and of its blocks
    cases.push_back({edge, 64 - edge, 520});
  for (size_t k = 1; k <= 67; ++k) cases.push_back({k % 5 + 1, k % 11 + 1, k});

  for (const Case& c : cases)
    for (const Type type : types) check_against_double(*table, c, type, c.k % 2 == 0);
}

TEST_P(Linear, RowIsTheSameInAnyCompany) {
  const size_t n = 50, most = 200;  // whole blocks and the rest of one

  for (size_t k : {5, 64, 333, 641, 1300, 2100})
    for (const Type type : types) {
      const auto x = normals(most * k, k);
      const Weights w = make_weights(n * k, k + 1);
      const auto all = product_of(*table, view(w, type, 0, n, k), x.data(), most);
      for (size_t r = 0; r < most; ++r)
        ASSERT_TRUE(same(product_of(*table, view(w, type, 0, n, k), x.data() + r * k, 1).data(),
                         all.data() + r * n, n))
            << table->isa << " row " << r << " k " << k;
      for (size_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 64, 97})
        ASSERT_TRUE(same(product_of(*table, view(w, type, 0, n, k), x.data(), rows).data(),
                         all.data(), rows * n))
            << table->isa << " rows " << rows << " k " << k;
    }
}

TEST_P(Linear, OutputIsTheSameInAnySplit) {
  const size_t n = 40, k = 333;
  const auto x = normals(11 * k, 7);
  const Weights w = make_weights(n * k, 8);

  for (const Type type : types)
    for (size_t rows : {1, 2, 3, 11}) {
      const auto all = product_of(*table, view(w, type, 0, n, k), x.data(), rows);
      for (size_t part = 1; part <= 17; ++part)
        for (size_t j = 0; j < n; j += part) {
          const size_t count = std::min(part, n - j);
          const auto some = product_of(*table, view(w, type, j, count, k), x.data(), rows);
          for (size_t r = 0; r < rows; ++r)
            ASSERT_TRUE(same(some.data() + r * count, all.data() + r * n + j, count))
                << table->isa << " rows " << rows << " outputs from " << j << " by " << part;
        }
    }
}

// Rows of the output may stand apart, in one strip of rows and in several; nothing between them is
// touched.
TEST_P(Linear, WritesNothingBetweenItsRows) {
  for (const auto& [rows, k] : {std::pair<size_t, size_t>{5, 33}, {14, 12000}}) {
    const size_t n = 9, stride = 12;
    const auto x = normals(rows * k, 1);
    const Weights w = make_weights(n * k, 2);
    const auto together = product_of(*table, view(w, {Format::f32}, 0, n, k), x.data(), rows);
    Guarded<float> out((rows - 1) * stride + n, untouched);
    table->product(view(w, {Format::f32}, 0, n, k), x.data(), rows, nullptr, out.data(), stride);
    for (size_t r = 0; r < rows; ++r) {
      ASSERT_TRUE(same(&out[r * stride], &together[r * n], n)) << table->isa << " " << r;
      for (size_t j = n; j < stride && r + 1 < rows; ++j)
        ASSERT_EQ(out[r * stride + j], untouched) << table->isa;
    }
  }
}

TEST_P(Linear, EverySixteenBitWeightMeansWhatItSays) {
  Guarded<uint16_t> w(65536);
  for (size_t i = 0; i < w.size(); ++i) w[i] = uint16_t(i);
  const float one = 1;

  for (const Type type : {types[1], types[2], types[3]}) {
    const auto out =
        product_of(*table, {type.format, w.data(), w.size(), 1, type.brain_inputs}, &one, 1);
    for (size_t i = 0; i < w.size(); ++i) {
      const float stored = type.format == Format::f16 ? to_float_f16(w[i]) : to_float_bf16(w[i]);
      // The instruction that multiplies brain floats takes what is below 2^-126 as 0.
      const bool tiny = type.brain_inputs && std::abs(stored) < 0x1p-126f;
      ASSERT_TRUE(std::isnan(stored) ? std::isnan(out[i])
                  : tiny             ? std::abs(out[i]) <= std::abs(stored)
                                     : stored == out[i])
          << table->isa << " " << i;
    }
  }
}

TEST_P(Linear, EmptyIsNothing) {
  float x = 1, w = 1, out = untouched;
  table->product({Format::f32, &w, 1, 1}, &x, 0, nullptr, &out, 1);
  table->product({Format::f32, &w, 0, 1}, &x, 1, nullptr, &out, 1);
  EXPECT_EQ(out, untouched);
}

}  // namespace
}  // namespace revenant
