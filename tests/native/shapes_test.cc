// The order of summation on the shapes of the 0.5B models, of one layer.
#include "support/formats.h"

namespace revenant {
namespace {

class Shapes : public testing::TestWithParam<bool> {};

TEST_P(Shapes, BatchPiecesAndThreadsChangeNoBit) {
  const bool trol = GetParam();
  const Config config = random_config({.hidden = 896,
                                       .intermediate = 4864,
                                       .layers = 1,
                                       .heads = 14,
                                       .kv_heads = 2,
                                       .head_dim = 64,
                                       .phantom = !trol,
                                       .trol = trol});
  const Weights<Weight> plain = random_weights(config, 7);
  Threads threads(2);
  for (const FormatInfo& f : formats()) {
    const Weights<Weight> w = in_format(plain, f.format, threads);
    const Format cache = f.format == Format::f32 ? Format::f32 : Format::f16;
    const bool few_bits = f.format == Format::q8_0;  // the cache's own formats, once
    expect_the_same_bits(config, w, f.name, 70, {2, 3, 8, 16}, {1, 7, 64}, {2, 3, 4},
                         {cache, few_bits && !trol ? Format::q8_0 : cache});
  }
  const Weights<Weight> rounded =
      changed(in_format(plain, Format::bf16, threads), [](Packed& p) { p.brain_inputs = true; });
  expect_the_same_bits(config, rounded, "BF16 x bf16", 70, {2, 3, 8, 16}, {1, 7, 64}, {2, 3, 4},
                       {Format::f16, Format::f16});
}

INSTANTIATE_TEST_SUITE_P(, Shapes, testing::Bool(),
                         [](const auto& one) { return one.param ? "trol" : "phantom"; });

}  // namespace
}  // namespace revenant
