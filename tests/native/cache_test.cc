// 16-bit caches against f32 ones. Attention reads a 16-bit number as the float it stands for, so a
// 16-bit cache must give, bit for bit, what an f32 cache gives whose rows were rounded by hand:
// through pieces of prompts, steps, forks, rewinds, ghosts and TroL's passes.
#include <gtest/gtest.h>

#include <cstring>

#include "base/dtype.h"
#include "model/decoder.h"
#include "support/random_network.h"

namespace revenant {
namespace {

using Ids = std::vector<int>;
using Values = std::vector<float>;

float rounded(float x, WeightType type) {
  if (type == WeightType::f16) return to_float_f16(to_f16(x));
  return type == WeightType::bf16 ? to_float_bf16(to_bf16(x)) : x;
}

Tensor rounded(const Tensor& x, WeightType type) {
  if (x.empty()) return x;
  Tensor out(x.rows, x.heads, x.width);
  for (size_t i = 0; i < x.size(); ++i) out.data()[i] = rounded(x.data()[i], type);
  return out;
}

// Rounds what goes into the f32 cache.
template <WeightType type>
struct ByHand : Executor {
  using Executor::Executor;
  Halves<Tensor> attend(Site site, const Haunted<Tensor>& a, const Step& step, float eta,
                        const Part* part) {
    Haunted<Tensor> b = a;
    for (Tensor* x : {&b.plain.k, &b.plain.v, &b.ghost.k, &b.ghost.v}) *x = rounded(*x, type);
    return Executor::attend(site, b, step, eta, part);
  }
};

// One model and its weights; logits of the last row of every forward.
template <class E>
class Forwards {
 public:
  Forwards(const Config& config, const Weights<Weight>& weights, WeightType type)
      : c_(config), w_(weights), type_(type) {}

  Sequence sequence() const { return Sequence(c_, type_); }

  void rows(Sequence& sequence, const Ids& ids, int length, bool prompt) {
    Sequence* const sequences[] = {&sequence};
    Step step;
    step.add(0, sequence.rows, int(ids.size()), length, prompt);
    reserve(c_, step, sequences);
    E e(c_, kernels(), threads_, sequences);
    const Tensor x = embed_prompt(e, w_, ids, static_cast<const Tensor*>(nullptr), step);
    const Tensor y = e.linear(w_.output, decode(e, c_, w_, x, step));
    sequence.rows += int(ids.size());
    values.insert(values.end(), y.row(y.rows - 1), y.row(y.rows - 1) + y.row_size());
  }
  void prompt(Sequence& sequence, const Ids& ids, size_t piece) {
    const int all = sequence.rows + int(ids.size());
    for (size_t at = 0; at < ids.size(); at += piece)
      rows(sequence, {ids.begin() + long(at), ids.begin() + long(std::min(ids.size(), at + piece))},
           all, true);
  }
  void steps(Sequence& sequence, const Ids& ids) {
    for (const int id : ids) rows(sequence, {id}, sequence.rows + 1, false);
  }

  Values values;

 private:
  const Config& c_;
  const Weights<Weight>& w_;
  WeightType type_;
  Threads threads_{2};
};

Ids text(uint64_t seed, int length) {
  Random random(seed);
  Ids ids;
  for (int i = 0; i < length; ++i) ids.push_back(int(random.below(49)));
  return ids;
}

// A prompt in pieces, steps, a fork that goes another way, one that follows it from the middle,
// going back, and a prompt that goes on.
template <class E>
Values story(const Config& config, const Weights<Weight>& weights, WeightType type) {
  const int streams = config.trol.traverse == Traverse::all ? config.trol.streams() : 1;
  Forwards<E> run(config, weights, type);
  for (const size_t piece : {size_t(1), size_t(7), size_t(100)}) {
    Sequence a = run.sequence(), b = run.sequence(), c = run.sequence();
    run.prompt(a, text(1, 75), piece);
    run.steps(a, text(2, 5));
    b.share(a, streams);
    run.steps(b, text(3, 70));
    c.share(a, streams);
    run.steps(c, text(4, 3));
    c.share(b, streams);
    run.steps(c, text(5, 3));
    a.rows = 60;
    run.steps(a, text(6, 30));
    a.rows = 40;
    run.prompt(a, text(7, 20), piece);
    run.steps(a, text(8, 2));
  }
  return run.values;
}

const RandomShape shapes[] = {
    {.phantom = true, .trol = false},
    {.phantom = false, .trol = true, .lora_rank = 5},
    {.phantom = true, .trol = true},
    {.heads = 5, .kv_heads = 5, .head_dim = 18, .phantom = true, .trol = false},
};

template <class F>
void for_each_model(const F& test) {
  for (const RandomShape& shape : shapes)
    for (const Traverse traverse : {Traverse::prompt, Traverse::all}) {
      Config config = random_config(shape);
      if (!config.trol.on && traverse == Traverse::all) continue;
      config.trol.traverse = traverse;
      SCOPED_TRACE(testing::Message() << "phantom " << shape.phantom << " trol " << shape.trol
                                      << (traverse == Traverse::all ? " all" : ""));
      test(config, random_weights(config, 7));
    }
}

TEST(Cache, OfSixteenBitsIsOneOfRoundedFloats) {
  for_each_model([](const Config& c, const Weights<Weight>& w) {
    const Values f16 = story<Executor>(c, w, WeightType::f16),
                 bf16 = story<Executor>(c, w, WeightType::bf16);
    EXPECT_EQ(f16, (story<ByHand<WeightType::f16>>(c, w, WeightType::f32)));
    EXPECT_EQ(bf16, (story<ByHand<WeightType::bf16>>(c, w, WeightType::f32)));
    EXPECT_NE(f16, bf16);
  });
}

// A copy of a sequence, whole or from where it differs, goes on as the one it was copied from.
TEST(Cache, ACopyGoesOnAsItsOrigin) {
  for_each_model([](const Config& config, const Weights<Weight>& weights) {
    const int streams = config.trol.traverse == Traverse::all ? config.trol.streams() : 1;
    for (const WeightType type : {WeightType::f32, WeightType::f16, WeightType::bf16}) {
      Forwards<Executor> run(config, weights, type);
      const auto steps = [&](Sequence& sequence, uint64_t seed, int count) {
        run.values.clear();
        run.steps(sequence, text(seed, count));
        return run.values;
      };
      Sequence origin = run.sequence(), copy = run.sequence();
      run.prompt(origin, text(1, 75), 100);
      copy.share(origin, streams);
      EXPECT_EQ(steps(copy, 2, 9), steps(origin, 2, 9));
      steps(copy, 3, 5);
      steps(origin, 4, 70);
      copy.share(origin, streams);
      EXPECT_EQ(steps(copy, 5, 2), steps(origin, 5, 2));
    }
  });
}

TEST(Cache, BytesAreThoseOfItsRows) {
  for_each_model([](const Config& config, const Weights<Weight>& weights) {
    for (const WeightType type : {WeightType::f32, WeightType::f16}) {
      Forwards<Executor> run(config, weights, type);
      Sequence sequence = run.sequence();
      run.prompt(sequence, text(1, 64), 100);  // as many as a block has
      EXPECT_EQ(sequence.bytes(),
                64 * cache_row_bytes(config, type) * size_t(config.trol.streams()));
    }
  });
}

// What rounding may do. With u the largest relative error of a stored number (2^-11, 2^-8), a score
// s moves by at most u |q| |k| scale, about u at these sizes (|s| is near 1), which moves weights
// by twice that; a value moves by u; ghosts the same. So an attention's output moves by about 3 u
// of its size, the layers (2, in as many passes) add up, and the last norm brings the sum to the
// scale of the logits: 3 * 2 * 2 u. Errors of either sign cancel: 0.6 u is seen here, 1.9 u in the
// golden cases.
TEST(Cache, OfSixteenBitsStaysNearThatOfFloats) {
  for_each_model([](const Config& c, const Weights<Weight>& w) {
    const Values f32 = story<Executor>(c, w, WeightType::f32);
    double largest = 0;
    for (const float x : f32) largest = std::max(largest, std::abs(double(x)));
    for (const auto& [type, u] :
         {std::pair{WeightType::f16, 0x1p-11}, std::pair{WeightType::bf16, 0x1p-8}}) {
      const Values some = story<Executor>(c, w, type);
      double worst = 0;
      for (size_t i = 0; i < some.size(); ++i)
        worst = std::max(worst, std::abs(double(some[i]) - f32[i]) / largest);
      EXPECT_LE(worst, 12 * u);
      EXPECT_GT(worst, u / 64);  // it did round
      RecordProperty(type == WeightType::f16 ? "f16" : "bf16", std::to_string(worst / u));
    }
  });
}

}  // namespace
}  // namespace revenant
