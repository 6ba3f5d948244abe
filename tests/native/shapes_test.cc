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
  for (const Format format :
       {Format::f32, Format::bf16, Format::q8_0, Format::q5_0, Format::q4_0}) {
    const Format cache = format == Format::f32 ? Format::f32 : Format::f16;
    const Weights<Weight> w = format == Format::f32 ? plain : in_format(plain, format, threads);
    for (const Format ghosts : {cache, Format::q8_0})
      if (!trol || ghosts == cache)
        expect_the_same_bits(config, w, info(format).name, 70, {2, 3, 8, 16}, {1, 7, 64}, {2, 3, 4},
                             {cache, ghosts});
  }
}

INSTANTIATE_TEST_SUITE_P(, Shapes, testing::Bool(),
                         [](const auto& one) { return one.param ? "trol" : "phantom"; });

}  // namespace
}  // namespace revenant
