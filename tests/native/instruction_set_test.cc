// A whole model on each instruction set says what it says on the portable kernels.
#include "support/distance.h"
#include "support/each_table.h"
#include "support/formats.h"

namespace revenant {
namespace {

EACH_TABLE(InstructionSet);

// Heads and rows that are no multiple of any vector's lanes, too.
TEST_P(InstructionSet, StaysNearGenericInEachFormat) {
  Threads threads(2);
  const RandomShape shapes[] = {
      {.phantom = true, .trol = false},
      {.phantom = false, .trol = true, .lora_rank = 5},
      {.heads = 5, .kv_heads = 5, .head_dim = 16, .phantom = false, .trol = false},
      {.hidden = 256, .intermediate = 512, .heads = 4, .kv_heads = 2, .head_dim = 64, .trol = true},
  };
  const auto expect_near = [&](const Config& config, const Weights<Weight>& w, CacheTypes types,
                               double bound, const std::string& what) {
    const auto run = [&](const Kernels* k) { return last_of(config, w, 1, 37, 2, 37, types, k); };
    EXPECT_LT(distance(run(table), run(kernels_for("generic"))), bound) << what;
  };
  for (const RandomShape& shape : shapes) {
    const Config config = random_config(shape);
    const Weights<Weight> plain = random_weights(config, 7);
    for (const FormatInfo& f : formats()) {
      // An input that falls on the other side of half a step of its 8 bits moves a logit.
      const double bound = f.block > 1 ? 1e-2 : 1e-5;
      expect_near(config, in_format(plain, f.format, threads), Format::f32, bound, f.name);
    }
    const Weights<Weight> rounded =
        changed(in_format(plain, Format::bf16, threads), [](Packed& p) { p.brain_inputs = true; });
    expect_near(config, rounded, Format::f32, 3e-3, "BF16 x bf16");
    if (shape.head_dim % 32 == 0) expect_near(config, plain, Format::q8_0, 3e-3, "cache in Q8_0");
    expect_near(config, plain, Format::f16, 3e-3, "cache in F16");
  }
}

}  // namespace
}  // namespace revenant
