// What the order-of-summation contract promises: equal bits, whatever the batch, the threads, the
// pieces of a prompt or the company.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>

#include "base/error.h"
#include "support/random_network.h"

namespace revenant {
namespace {

using Ids = std::vector<int>;
using Bits = std::vector<uint32_t>;

Bits bits_of(const Tensor& x, int first, int rows) {
  Bits bits(size_t(rows) * x.row_size());
  std::memcpy(bits.data(), x.row(first), bits.size() * sizeof(float));
  return bits;
}

Ids prompt(uint64_t seed, int length, int vocab) {
  Random random(seed);
  Ids ids;
  for (int i = 0; i < length; ++i) ids.push_back(int(random.below(uint64_t(vocab))));
  return ids;
}

struct Model {
  Config config;
  Weights<Weight> weights;
  explicit Model(const RandomShape& shape)
      : config(random_config(shape)), weights(random_weights(config, 7)) {}

  // Picture rows' features: the embeddings of other tokens do as well as a tower's output.
  Tensor features(int rows) const {
    Threads one(1);
    Executor e(config, kernels(), one);
    return e.embed(weights.embedding, prompt(99, rows, config.vocab));
  }
  std::vector<uint8_t> pictures(const Ids& ids) const {
    std::vector<uint8_t> marks;
    for (const int id : ids) marks.push_back(id == config.image_token);
    return marks;
  }
};

int count(const std::vector<uint8_t>& marks) {
  return int(std::count(marks.begin(), marks.end(), 1));
}

const RandomShape shapes[] = {
    {.phantom = true, .trol = false},
    {.phantom = false, .trol = true, .lora_rank = 5},
    {.phantom = true, .trol = true},
    {.heads = 5, .kv_heads = 5, .head_dim = 16, .phantom = false, .trol = false},
};

// Feeds a prompt in pieces; the bits of every row's logits.
Bits feed(const Model& m, const Native& native, Sequence& sequence, const Ids& ids, int piece,
          bool as_prompt = true) {
  Sequence* const sequences[] = {&sequence};
  const Tensor all = m.features(count(m.pictures(ids)));
  int used = 0;
  Bits bits;
  for (int at = 0; at < int(ids.size()); at += piece) {
    const Ids some(ids.begin() + at, ids.begin() + std::min(int(ids.size()), at + piece));
    const auto marks = m.pictures(some);
    Step step;
    step.add(0, at, int(some.size()), as_prompt ? int(ids.size()) : at + int(some.size()),
             as_prompt || at == 0, marks);
    const Tensor features = all.slice(used, count(marks));
    used += count(marks);
    const Tensor y = logits(native, forward(native, step, sequences, some, &features));
    const Bits more = bits_of(y, 0, y.rows);
    bits.insert(bits.end(), more.begin(), more.end());
  }
  return bits;
}

Bits feed_alone(const Model& m, const Ids& ids, int piece, int threads = 1) {
  Threads pool(threads);
  Sequence sequence(m.config);
  return feed(m, {m.config, m.weights, pool}, sequence, ids, piece);
}

TEST(Invariants, PiecesOfAPromptEqualTheWhole) {
  for (const RandomShape& shape : shapes) {
    const Model m(shape);
    const Ids ids = prompt(3, 83, m.config.vocab);
    const Bits whole = feed_alone(m, ids, 1000);
    for (const int piece : {1, 7, 64}) EXPECT_EQ(feed_alone(m, ids, piece), whole) << piece;
  }
}

// More keys than a chunk: threads that would have no head of their own take some of its keys.
TEST(Invariants, LongContextsAreTheSameBitsAtAnyThreadCount) {
  const Model m({.layers = 1, .heads = 4, .kv_heads = 2, .head_dim = 32, .phantom = true});
  const Ids ids = prompt(3, int(key_chunk) + 70, m.config.vocab);
  for (const CacheTypes types :
       {CacheTypes(Format::f32), CacheTypes(Format::q8_0), CacheTypes(Format::f16, Format::q8_0)}) {
    const auto fed = [&](int threads, int piece) {
      Threads pool(threads);
      Sequence sequence(m.config, types);
      return feed(m, {m.config, m.weights, pool}, sequence, ids, piece);
    };
    const Bits whole = fed(1, 2000);
    for (const int threads : {1, 2, 3, 4, 8})
      for (const int piece : {1, 500, int(ids.size()) - 3}) EXPECT_EQ(fed(threads, piece), whole);
  }
}

// A step of a long and a short sequence, whose calls have chunks of their own numbers.
TEST(Invariants, LongAndShortContextsInOneStep) {
  const Model m({.layers = 1, .heads = 4, .kv_heads = 2, .head_dim = 32, .phantom = true});
  const Ids texts[] = {prompt(4, 20, m.config.vocab),
                       prompt(3, int(key_chunk) + 70, m.config.vocab)};
  const auto last = [&](int threads, bool together) {
    Threads pool(threads);
    const Native native{m.config, m.weights, pool};
    std::deque<Sequence> sequences;
    std::vector<Sequence*> pointers;
    for (const Ids& ids : texts) {
      pointers.push_back(&sequences.emplace_back(m.config));
      feed(m, native, sequences.back(), ids, 2000);
    }
    Bits bits;
    Step both;
    for (int s = 0; s < 2; ++s) {
      Step step;
      const int at = int(texts[s].size());
      (together ? both : step).add(s, at, 1, at + 1, false);
      if (together) continue;
      const Tensor y = logits(native, forward(native, step, pointers, Ids{7}));
      const Bits more = bits_of(y, 0, 1);
      bits.insert(bits.end(), more.begin(), more.end());
    }
    return together ? bits_of(logits(native, forward(native, both, pointers, Ids{7, 7})), 0, 2)
                    : bits;
  };
  const Bits alone = last(1, false);
  for (const int threads : {1, 2, 3, 8}) EXPECT_EQ(last(threads, true), alone) << threads;
}

// Who looks on sees all rows computed, whatever their gates.
struct GateValues : Observer {
  std::vector<float> all;
  void note(Site, Note name, const Tensor& x) override {
    if (name == Note::trol_gate) all.insert(all.end(), x.data(), x.data() + x.rows);
  }
};

TEST(Invariants, RowsUnderTheThresholdNeedNoSecondPass) {
  for (const RandomShape& shape : shapes) {
    if (!shape.trol) continue;
    const Model m(shape);
    Config config = m.config;
    Threads pool(2);
    const Ids ids = prompt(3, 83, config.vocab);
    const auto feed_all = [&](int piece, GateValues* gates) {
      Sequence sequence(config);
      return feed(m, {config, m.weights, pool, gates}, sequence, ids, piece);
    };
    GateValues gates, less;
    feed_all(1000, &gates);
    EXPECT_EQ(std::ranges::count(gates.all, 0), 0);
    std::ranges::sort(gates.all);  // what is left out changes the gates that follow
    config.trol.threshold = gates.all[gates.all.size() / 4];
    const Bits whole = feed_all(1000, &less);
    EXPECT_GT(std::ranges::count(less.all, 0), 10);
    EXPECT_LT(std::ranges::count(less.all, 0), long(less.all.size()) - 9);
    for (const int piece : {1, 7, 1000}) EXPECT_EQ(feed_all(piece, nullptr), whole) << piece;
  }
}

// Of the last layer the rows that are asked for alone; the cache is the same.
TEST(Invariants, WhatNobodyAsksForIsNotMissed) {
  for (const RandomShape& shape : shapes) {
    const Model m(shape);
    const Ids ids = prompt(3, 83, m.config.vocab), next = {m.config.vocab - 2};
    const Tensor features = m.features(count(m.pictures(ids)));
    Threads pool(2);
    const Native native{m.config, m.weights, pool};
    const auto run = [&](const std::optional<Ids>& asked, Bits& after) {
      Sequence sequence(m.config);
      Sequence* const sequences[] = {&sequence};
      Step step;
      step.add(0, 0, 83, 83, true, m.pictures(ids));
      step.asked = asked;
      const Tensor x = forward(native, step, sequences, ids, &features);
      Step one;
      one.add(0, 83, 1, 84, false);
      after = bits_of(logits(native, forward(native, one, sequences, next)), 0, 1);
      return x;
    };
    Bits after_all, after_some;
    const Tensor all = run({}, after_all);
    for (const Ids& asked : {Ids{82}, Ids{0, 5, 41, 82}, Ids{}}) {
      const Tensor some = run(asked, after_some);
      ASSERT_EQ(some.rows, int(asked.size()));
      for (size_t i = 0; i < asked.size(); ++i)
        EXPECT_EQ(bits_of(some, int(i), 1), bits_of(all, asked[i], 1)) << asked[i];
      EXPECT_EQ(after_some, after_all) << asked.size();
    }
  }
}

// A key of 1e5 would be an infinity in f16, as one of 1e7 the scale of its run in 8 bits; it is an
// error there, and not in the wider types.
TEST(Invariants, ACacheThatCannotHoldAKeySaysSo) {
  Config config;
  config.layers = config.heads = config.kv_heads = 1;
  config.head_dim = 32;
  const auto holds = [&](Format type, float number) {
    Threads pool(1);
    Sequence sequence(config, type);
    Sequence* const sequences[] = {&sequence};
    Executor e(config, kernels(), pool, sequences);
    Step step;
    step.add(0, 0, 1, 1, true);
    reserve(config, step, sequences);
    std::vector<float> small(32, 4), large(32, 1);
    large[2] = number;
    const Tensor x = Tensor::from(small.data(), 1, 32), k = Tensor::from(large.data(), 1, 32);
    const Tensor out = e.attend({0, 1}, {{x, k, x}, {}, false}, step, 0).plain;
    const auto failure = e.failure_of(step.spans[0]);
    EXPECT_TRUE(failure || std::abs(out.data()[3] - 4) < 0.01f);
    EXPECT_TRUE(!failure ||
                std::string(failure->what()).find(cache_name(type)) != std::string::npos);
    return !failure;
  };
  for (const auto& [type, most] : {std::pair{Format::f16, 6e4f},
                                   {Format::q8_0, 8e6f},
                                   {Format::bf16, 1e30f},
                                   {Format::f32, 1e30f}}) {
    EXPECT_TRUE(holds(type, most)) << cache_name(type);
    EXPECT_EQ(holds(type, 2 * most), most > 1e7f) << cache_name(type);
  }
}

TEST(Invariants, StepsEqualOnePrefillWithoutTraversal) {
  const Model m({.phantom = true});
  Ids ids = prompt(4, 70, m.config.vocab - 1);
  Threads pool(2);
  Sequence steps(m.config);
  EXPECT_EQ(feed(m, {m.config, m.weights, pool}, steps, ids, 1, false), feed_alone(m, ids, 1000));
}

TEST(Invariants, StepsAfterATraversedPromptPassOnce) {
  const Model m({.phantom = false, .trol = true});
  const Ids ids = prompt(4, 20, m.config.vocab - 1);
  Threads pool(1);
  Sequence steps(m.config);
  EXPECT_NE(feed(m, {m.config, m.weights, pool}, steps, ids, 1, false), feed_alone(m, ids, 1000));
}

TEST(Invariants, BatchOfEightEqualsEightAloneAtAnyThreadCount) {
  for (const RandomShape& shape : shapes) {
    const Model m(shape);
    std::vector<Ids> prompts;
    std::vector<Bits> alone;
    for (int i = 0; i < 8; ++i) {
      prompts.push_back(prompt(uint64_t(i), 1 + 9 * i, m.config.vocab - 1));
      alone.push_back(feed_alone(m, prompts.back(), 1000));
    }
    for (const int threads : {1, 2, 3}) {
      Threads pool(threads);
      const Native native{m.config, m.weights, pool};
      std::deque<Sequence> sequences;
      std::vector<Sequence*> pointers;
      Step step;
      Ids ids;
      for (size_t i = 0; i < 8; ++i) {
        pointers.push_back(&sequences.emplace_back(m.config));
        step.add(int(i), 0, int(prompts[i].size()), int(prompts[i].size()), true);
        ids.insert(ids.end(), prompts[i].begin(), prompts[i].end());
      }
      const Tensor y = logits(native, forward(native, step, pointers, ids));
      for (size_t i = 0; i < 8; ++i)
        EXPECT_EQ(bits_of(y, step.spans[i].first_row, step.spans[i].rows), alone[i]) << i;
    }
  }
}

// One sequence generates while another's prompt is fed in the same steps.
TEST(Invariants, CompanyChangesNothing) {
  for (const RandomShape& shape : shapes) {
    const Model m(shape);
    Threads pool(2);
    const Native native{m.config, m.weights, pool};
    const Ids first = prompt(1, 30, m.config.vocab - 1), second = prompt(2, 30, m.config.vocab - 1);
    const Bits second_alone = feed_alone(m, second, 1000);
    const auto generate = [&](bool company) {
      Sequence a(m.config), b(m.config);
      Sequence* const sequences[] = {&a, &b};
      feed(m, native, a, first, 1000);
      Bits generated, other;
      for (int t = 0; t < 30; ++t) {
        Step step;
        Ids ids = {first[size_t(t)]};
        step.add(0, 30 + t, 1, 31 + t, false);
        if (company) {
          step.add(1, t, 1, 30, true);
          ids.push_back(second[size_t(t)]);
        }
        const Tensor y = logits(native, forward(native, step, sequences, ids));
        const Bits mine = bits_of(y, 0, 1), theirs = bits_of(y, y.rows - 1, 1);
        generated.insert(generated.end(), mine.begin(), mine.end());
        if (company) other.insert(other.end(), theirs.begin(), theirs.end());
      }
      EXPECT_EQ(other, company ? second_alone : Bits{});
      return generated;
    };
    EXPECT_EQ(generate(true), generate(false));
  }
}

// What native does not do it refuses: teacher forcing without a cache is training's.
TEST(Invariants, RowsGeneratedWithoutACacheAreAMistake) {
  const Model m(shapes[0]);
  Threads pool(1);
  Sequence sequence(m.config);
  Sequence* const sequences[] = {&sequence};
  Step step;
  step.add(0, 0, 3, 3, true);
  step.spans[0].generated = 1;
  EXPECT_THROW(forward({m.config, m.weights, pool}, step, sequences, Ids{1, 2, 3}), CheckFailed);
}

// Of a first pass the last thing noted is its output before the gate mixes anything in.
struct Gates : Observer {
  std::map<std::pair<int, int>, std::map<std::string, Tensor>> seen;
  void note(Site site, Note name, const Tensor& value) override {
    seen[{site.layer, site.pass}][std::string(name_of(name))] = value;
  }
};

// docs/trol.md: the gate of each later pass looks at what the passes before it have mixed.
TEST(Trol, EveryLaterPassIsGatedByTheMixBeforeIt) {
  Model m({.phantom = false, .trol = true});
  m.config.trol.passes = 4;
  Threads pool(1);
  Sequence sequence(m.config);
  Sequence* const sequences[] = {&sequence};
  Gates gates;
  Step step;
  step.add(0, 0, 9, 9, true);
  forward({m.config, m.weights, pool, &gates}, step, sequences, prompt(3, 9, m.config.vocab - 1));
  for (int l = 0; l < m.config.layers; ++l) {
    const auto& w = m.weights.layers[size_t(l)].trol_gate;
    std::vector<float> row(size_t(m.config.hidden));
    w.weight.packed.unpack_row(0, row.data());
    Tensor mixed = gates.seen.at({l, 1}).at("pass1");
    for (int pass = 2; pass <= 4; ++pass) {
      const Tensor& gate = gates.seen.at({l, pass}).at("trol_gate");
      const Tensor& again = gates.seen.at({l, pass}).at("pass2");
      Tensor next(9, 1, m.config.hidden);
      for (int r = 0; r < 9; ++r) {
        double sum = w.bias ? w.bias.vector.data()[0] : 0;
        for (int i = 0; i < m.config.hidden; ++i) sum += double(mixed.row(r)[i]) * row[size_t(i)];
        const double expected = 0.5 * (std::tanh(sum) + 1);
        EXPECT_NEAR(*gate.row(r), expected, 1e-5) << "layer " << l << " pass " << pass;
        for (int i = 0; i < m.config.hidden; ++i)
          next.row(r)[i] = float(mixed.row(r)[i] + expected * (again.row(r)[i] - mixed.row(r)[i]));
      }
      mixed = next;
    }
    const Tensor& output = gates.seen.at({l, 1}).at("output");
    for (size_t i = 0; i < output.size(); ++i)
      EXPECT_NEAR(output.data()[i], mixed.data()[i], 1e-4 * (1 + std::abs(mixed.data()[i])));
  }
}

TEST(Invariants, GoingBackToAPrefixLeavesNoTrace) {
  for (const RandomShape& shape : shapes) {
    const Model m(shape);
    Threads pool(2);
    const Native native{m.config, m.weights, pool};
    Sequence* sequences[1];
    const auto tail = [&](Sequence& sequence) {
      sequences[0] = &sequence;
      Step step;
      step.add(0, 10, 1, 11, false);
      return bits_of(forward(native, step, sequences, Ids{3}), 0, 1);
    };
    const Ids ids = prompt(6, 10, m.config.vocab - 1);
    Sequence plain(m.config), detour(m.config);
    feed(m, native, plain, ids, 1000);
    feed(m, native, detour, ids, 1000);
    sequences[0] = &detour;
    Step other;
    other.add(0, 10, 4, 14, false);
    forward(native, other, sequences, Ids{9, 8, 7, 6});
    detour.rows = 10;
    EXPECT_EQ(tail(detour), tail(plain));
  }
}

// Who waits for a step of his own, or for a client that has left, does not wait for the end of a
// long loop; and its parts never show.
TEST(Invariants, LongLoopsAskWithin) {
  const auto random = [](int rows, int heads, int width, uint64_t seed) {
    Tensor x(rows, heads, width);
    Random from(seed);
    for (size_t i = 0; i < x.size(); ++i) x.data()[i] = float(from.uniform() - 0.5);
    return x;
  };
  const Config config = random_config({});
  Threads pool(2);
  int asked = 0;
  const GoOn count = [&] { return ++asked > 0; };
  Executor plain(config, kernels(), pool), asks(config, kernels(), pool, {}, nullptr, count);
  const auto same = [](const Tensor& a, const Tensor& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  };
  // 4.3e9 multiplications in four parts, and the last one's rest.
  const Tensor x = random(1025, 1, 1024, 1), w = random(4100, 1, 1024, 2);
  Linear<Weight> linear;
  linear.weight.packed =
      packed_floats(Format::q8_0, w.rows, w.width, pool,
                    [&](int row, float* out) { std::copy_n(w.row(row), w.width, out); });
  EXPECT_TRUE(same(plain.linear(linear, x), asks.linear(linear, x)));
  EXPECT_GE(asked, 4);
  EXPECT_LE(asked, 6);
  // A tile of 1,025 tokens in 32 heads: 4.3e9 too.
  const Qkv<Tensor> a{random(1025, 32, 64, 3), random(1025, 32, 64, 4), random(1025, 32, 64, 5)};
  asked = 0;
  EXPECT_TRUE(same(plain.attend_tile(a, 1025), asks.attend_tile(a, 1025)));
  EXPECT_GE(asked, 4);
  EXPECT_LE(asked, 6);
  const GoOn stop = [&] { return ++asked < 3; };
  asked = 0;
  Executor stops(config, kernels(), pool, {}, nullptr, stop);
  EXPECT_THROW(stops.linear(linear, x), Stopped);
  EXPECT_EQ(asked, 3);
}

}  // namespace
}  // namespace revenant
