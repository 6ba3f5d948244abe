// Quantised weights end to end: one order of summation in every format, and an error that each
// format's bits explain.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "support/distance.h"
#include "support/formats.h"

namespace revenant {
namespace {

const RandomShape shapes[] = {
    {.hidden = 256, .intermediate = 512, .heads = 4, .kv_heads = 2, .head_dim = 64},
    {.hidden = 256,
     .intermediate = 512,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 64,
     .phantom = false,
     .trol = true,
     .lora_rank = 5},
};

TEST(Formats, BatchPiecesAndThreadsChangeNoBit) {
  Threads threads(2);
  for (const RandomShape& shape : shapes) {
    const Config config = random_config(shape);
    const Weights<Weight> plain = random_weights(config, 7);
    for (const FormatInfo& f : formats()) {
      const Weights<Weight> w = in_format(plain, f.format, threads);
      expect_the_same_bits(config, w, f.name, 37, {2, 3, 8, 16}, {1, 7, 36}, {2, 3, 4});
    }
    const Weights<Weight> rounded =
        changed(in_format(plain, Format::bf16, threads), [](Packed& p) { p.brain_inputs = true; });
    expect_the_same_bits(config, rounded, "BF16 x bf16", 37, {2, 3, 8, 16}, {1, 7, 36}, {2, 3, 4});
  }
}

struct Watching : Observer {
  void note(Site /*site*/, Note /*name*/, const Tensor& /*value*/) override {}
};

// Who watches has gate, up and down computed one after the other.
TEST(Formats, WhatIsWatchedIsWhatIsComputed) {
  for (const RandomShape& shape : shapes) {
    const Config config = random_config(shape);
    Threads threads(2);
    const Weights<Weight> plain = random_weights(config, 7);
    std::vector<int> ids;
    for (int i = 0; i < 37; ++i) ids.push_back(i * 7 % 49);
    for (const FormatInfo& f : formats()) {
      const Weights<Weight> w = in_format(plain, f.format, threads);
      const auto run = [&](Observer* observer) {
        Sequence sequence(config, Format::f32);
        Sequence* const sequences[] = {&sequence};
        Step step;
        step.add(0, 0, 37, 37, true);
        const Native native{config, w, threads, observer};
        const Tensor y = logits(native, forward(native, step, sequences, ids));
        return std::vector<float>(y.data(), y.data() + y.size());
      };
      Watching observer;
      EXPECT_EQ(run(nullptr), run(&observer)) << f.name;
    }
  }
}

// Of the logits against f32, relative, the middle one of five models: more bits, less of it.
TEST(Formats, LogitsStayNearThoseOfF32) {
  Threads threads(2);
  const struct {
    Format format;
    double bound;
  } bounds[] = {{Format::q8_0, 0.03}, {Format::q6_k, 0.06}, {Format::q5_k, 0.12},
                {Format::q5_0, 0.16}, {Format::q4_k, 0.25}, {Format::q4_0, 0.3}};
  for (const RandomShape& shape : shapes) {
    const Config config = random_config(shape);
    for (const auto& [format, bound] : bounds) {
      std::vector<double> off;
      for (uint64_t seed = 1; seed <= 5; ++seed) {
        const Weights<Weight> plain = random_weights(config, seed);
        off.push_back(distance(last_of(config, in_format(plain, format, threads), 1, 37, 2),
                               last_of(config, plain, 1, 37, 2)));
      }
      std::sort(off.begin(), off.end());
      RecordProperty(info(format).name + std::string(shape.trol ? "_trol" : "_phantom"),
                     std::to_string(off[2]));
      EXPECT_LT(off[2], bound) << info(format).name;
      EXPECT_GT(off[2], bound / 5) << info(format).name << ": the bound says little";
    }
  }
}

// Attention within a tile, in 8 bits where the weights are of few bits, in bf16 where inputs are
// rounded to that.
struct TileAttention {
  explicit TileAttention(int head_dim) : config(random_config({})) {
    const auto random = [&](uint64_t seed) {
      Random numbers(seed);
      Tensor x(2 * tokens, 3, head_dim);
      for (size_t i = 0; i < x.size(); ++i) x.data()[i] = float(numbers.normal());
      return x;
    };
    qkv = {random(1), random(2), random(3)};
    Threads pool(1);
    few_bits.weight.packed =
        packed_floats(Format::q4_0, 16, 32, pool, [](int, float* x) { std::fill_n(x, 32, 1.0f); });
    brain.weight.packed =
        packed_floats(Format::bf16, 16, 32, pool, [](int, float* x) { std::fill_n(x, 32, 1.0f); });
    brain.weight.packed.brain_inputs = true;
  }
  Tensor made(const Linear<Weight>& w, int threads = 2, int tiles = 2) const {
    Threads pool(threads);
    Executor e(config, kernels(), pool);
    const auto first = [&](const Tensor& x) { return x.slice(0, tiles * tokens); };
    return e.attend_tile({first(qkv.q), first(qkv.k), first(qkv.v)}, tokens, w);
  }
  static std::vector<float> numbers(const Tensor& x, int rows) {
    return {x.data(), x.row(0) + size_t(rows) * x.row_size()};
  }

  const Config config;
  static constexpr int tokens = 77;
  Qkv<Tensor> qkv;
  Linear<Weight> few_bits, brain;
};

TEST(Formats, RoundedTilesAreNearThoseOfFloats) {
  const TileAttention t(64);
  const Tensor floats = t.made({});
  const size_t d = 64, rows = floats.size() / d;
  for (const bool brain : {false, true}) {
    const Tensor few = t.made(brain ? t.brain : t.few_bits);
    EXPECT_NE(floats.data()[0], few.data()[0]);
    for (size_t r = 0; r < rows; ++r) {
      double product = 0, a = 0, b = 0;
      for (size_t i = r * d; i < (r + 1) * d; ++i) {
        product += double(floats.data()[i]) * few.data()[i];
        a += double(floats.data()[i]) * floats.data()[i];
        b += double(few.data()[i]) * few.data()[i];
      }
      ASSERT_GT(product / std::sqrt(a * b), brain ? 0.9999 : 0.999) << r;
      ASSERT_NEAR(std::sqrt(b / a), 1, brain ? 0.01 : 0.03) << r;
    }
  }
}

TEST(Formats, TilesInFloatsAreThoseOfDouble) {
  const TileAttention t(24);
  const Tensor made = t.made({});
  const size_t d = 24;
  for (const int row : {0, 76, 77, 150})
    for (size_t head = 0; head < 3; ++head) {
      const float* q = t.qkv.q.row(row) + head * d;
      const int first = row / t.tokens * t.tokens;
      std::vector<double> mixed(d);
      double total = 0;
      for (int r = first; r < first + t.tokens; ++r) {
        double score = 0;
        for (size_t i = 0; i < d; ++i) score += double(q[i]) * t.qkv.k.row(r)[head * d + i];
        const double p = std::exp(score / std::sqrt(double(d)));
        total += p;
        for (size_t i = 0; i < d; ++i) mixed[i] += p * t.qkv.v.row(r)[head * d + i];
      }
      for (size_t i = 0; i < d; ++i)
        ASSERT_NEAR(made.row(row)[head * d + i], mixed[i] / total, 1e-5) << row << " " << head;
    }
}

TEST(Formats, TilesAreTheSameForAnyThreadsAndCompany) {
  for (const int d : {64, 24}) {  // 24 is no whole number of blocks: floats
    const TileAttention t(d);
    for (const Linear<Weight>* w : {&t.few_bits, &t.brain}) {
      const Tensor two = t.made(*w);
      for (const int threads : {1, 3})
        EXPECT_TRUE(
            same_bits(t.numbers(t.made(*w, threads), 2 * t.tokens), t.numbers(two, 2 * t.tokens)));
      EXPECT_TRUE(same_bits(t.numbers(t.made(*w, 2, 1), t.tokens), t.numbers(two, t.tokens)));
      EXPECT_EQ(same_bits(t.numbers(t.made({}), t.tokens), t.numbers(two, t.tokens)),
                d == 24 && w == &t.few_bits);
    }
  }
}

}  // namespace
}  // namespace revenant
