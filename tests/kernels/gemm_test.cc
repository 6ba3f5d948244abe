// Products of float32 factors rounded to bf16, against numbers.
#include "kernels/gemm.h"

#include <array>

#include "kernels/guarded.h"

namespace revenant {
namespace {

void in_one(size_t count, const std::function<void(size_t, size_t)>& work) { work(0, count); }
void from_the_end(size_t count, const std::function<void(size_t, size_t)>& work) {
  for (size_t end = count; end > 0; --end) work(end - 1, end);
}

class Gemm : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_bf16_gemm()) GTEST_SKIP() << "this machine or build has no amx";
  }
};

// A matrix [rows, k] of numbers that bf16 holds, lying in memory as a factor may.
struct Numbers {
  Numbers(size_t rows, size_t k, bool along_k, bool narrow, uint64_t seed)
      : values(rows * k), narrowed(rows * k) {
    Random random(seed);
    for (size_t i = 0; i < rows * k; ++i) {
      narrowed.data()[i] = to_bf16(float(random.normal()));
      values.data()[i] = to_float_bf16(narrowed.data()[i]);
    }
    factor = {narrow ? static_cast<const void*>(narrowed.data()) : values.data(), narrow, along_k,
              along_k ? k : rows};
  }
  double at(size_t row, size_t l) const {
    return values.data()[factor.along_k ? row * factor.stride + l : l * factor.stride + row];
  }
  Guarded<float> values;
  Guarded<uint16_t> narrowed;
  GemmFactor factor;
};

// Sizes around every edge of tiles, blocks and stretches; both ways that each factor may lie.
TEST_F(Gemm, EverySizeAndForm) {
  for (const auto& [m, n, k] : std::vector<std::array<size_t, 3>>{{1, 1, 1},
                                                                  {15, 17, 31},
                                                                  {16, 16, 32},
                                                                  {33, 31, 33},
                                                                  {32, 32, 512},
                                                                  {31, 64, 513},
                                                                  {70, 513, 1025}})
    for (int form = 0; form < 8; ++form) {
      const bool adds = form & 1;
      const Numbers a(m, k, form & 1, form & 4, 1), b(n, k, form & 2, !(form & 4), 2);
      Guarded<float> c(m * n, 3.0f), pieces(m * n, 3.0f);
      bf16_gemm(m, n, k, a.factor, b.factor, {c.data(), n, adds}, in_one);
      bf16_gemm(m, n, k, a.factor, b.factor, {pieces.data(), n, adds}, from_the_end);
      EXPECT_TRUE(same(c.data(), pieces.data(), m * n)) << "the split is seen in the bits";
      for (size_t i = 0; i < m; ++i)
        for (size_t j = 0; j < n; ++j) {
          double sum = adds ? 3 : 0, size = sum;
          for (size_t l = 0; l < k; ++l) {
            sum += a.at(i, l) * b.at(j, l);
            size += std::abs(a.at(i, l) * b.at(j, l));
          }
          ASSERT_NEAR(c.data()[i * n + j], sum, 3e-7 * size)
              << m << " x " << n << " x " << k << ", form " << form << ", at " << i << ", " << j;
        }
    }
}

// Each row begins with the bias, once, however many stretches of k there are.
TEST_F(Gemm, BiasIsAddedOnce) {
  const size_t m = 33, n = 531, k = 1030;
  const Numbers a(m, k, true, false, 1), b(n, k, true, false, 2);
  Guarded<float> bias(n), c(m * n, 3.0f), without(m * n, 3.0f);
  for (size_t j = 0; j < n; ++j) bias.data()[j] = 1000.0f * float(j);
  bf16_gemm(m, n, k, a.factor, b.factor, {c.data(), n, false, bias.data()}, in_one);
  bf16_gemm(m, n, k, a.factor, b.factor, {without.data(), n}, in_one);
  for (size_t i = 0; i < m * n; ++i)
    ASSERT_NEAR(c.data()[i], without.data()[i] + bias.data()[i % n],
                2e-6 * bias.data()[i % n] + 1e-3)
        << i;
}

// A number that bf16 does not hold goes to the nearest that it does, of two as near to the even
// one.
TEST_F(Gemm, FactorsAreRoundedToTheNearest) {
  for (const float x : {1.00390625f, 1.01171875f, 1.003906369f, -3.1415926f, 1e-20f}) {
    float c = 0;
    const uint16_t one = to_bf16(1);
    bf16_gemm(1, 1, 1, {&x, false, true, 1}, {&one, true, true, 1}, {&c, 1, false}, in_one);
    EXPECT_EQ(c, to_float_bf16(to_bf16(x)));
  }
}

}  // namespace
}  // namespace revenant
