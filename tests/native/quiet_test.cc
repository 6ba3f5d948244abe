// Ghosts of queries and keys that cannot count in a score, and are left out.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <map>

#include "support/random_network.h"

namespace revenant {
namespace {

using Ids = std::vector<int>;
using Bits = std::vector<uint32_t>;

struct Made {
  Config config = random_config({});
  Weights<Weight> weights;

  explicit Made(double eta, bool trol = false) {
    config.phantom.eta = eta;
    config.trol.on = trol;
    weights = random_weights(config, 7);
    for (auto& layer : weights.layers)
      for (Mixer<Weight>* mixer : {&layer.attention.phantom.mix_q, &layer.attention.phantom.mix_k})
        mixer->o.weight.norm = norm_bound(mixer->o.weight.packed);
  }
  // What the matrix makes of a row is no number from here on.
  static void spoil(Packed& matrix) {
    const auto values = std::make_shared<std::vector<float>>(
        size_t(matrix.rows) * size_t(matrix.columns), std::numeric_limits<float>::quiet_NaN());
    matrix.data = reinterpret_cast<const std::byte*>(values->data());
    matrix.owner = values;
  }
  void spoil_queries() {
    for (auto& layer : weights.layers) spoil(layer.attention.phantom.mix_q.q.weight.packed);
  }
};

Threads& pool() {
  static Threads the_pool(2);
  return the_pool;
}

Bits bits(const Tensor& x, int first, int rows) {
  Bits all(size_t(rows) * x.row_size());
  std::memcpy(all.data(), x.row(first), all.size() * sizeof(float));
  return all;
}

// Logits of all rows of prompts that are computed in one step.
Tensor together(const Made& m, const std::vector<Ids>& prompts, Observer* observer = nullptr,
                std::vector<Anchor>* anchors = nullptr) {
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<Sequence*> pointers;
  Step step;
  Ids all;
  for (const Ids& ids : prompts) {
    step.add(int(sequences.size()), 0, int(ids.size()), int(ids.size()), true);
    sequences.push_back(std::make_unique<Sequence>(m.config));
    pointers.push_back(sequences.back().get());
    all.insert(all.end(), ids.begin(), ids.end());
  }
  const Native native{m.config, m.weights, pool(), observer};
  const Tensor made = logits(native, forward(native, step, pointers, all));
  for (const auto& sequence : sequences)
    if (anchors) anchors->push_back(sequence->anchor(0));
  return made;
}

// The longest ghosts that an answer really had.
struct Longest : Observer {
  std::map<std::pair<int, Note>, double> most;
  void note(Site site, Note name, const Tensor& x) override {
    if (name != Note::q_ghost && name != Note::k_ghost) return;
    double& longest = most[{site.layer, name}];
    for (size_t head = 0; head < size_t(x.rows * x.heads); ++head) {
      double squares = 0;
      for (int i = 0; i < x.width; ++i)
        squares += std::pow(double(x.data()[head * size_t(x.width) + size_t(i)]), 2);
      longest = std::max(longest, std::sqrt(squares));
    }
  }
};

double longest_head(const std::vector<float>& values, int width) {
  double most = 0;
  for (size_t at = 0; at < values.size(); at += size_t(width)) {
    double squares = 0;
    for (size_t i = at; i < at + size_t(width); ++i) squares += double(values[i]) * values[i];
    most = std::max(most, std::sqrt(squares));
  }
  return most;
}

const Ids one = {3, 8, 17, 4, 33, 21, 9}, other = {40, 8, 17, 4, 33};

TEST(Quiet, TheBoundHoldsAndIsNotFarOff) {
  for (const bool trol : {false, true}) {
    const Made m(0.5, trol);
    Longest longest;
    std::vector<Anchor> anchors;
    together(m, {one}, &longest, &anchors);
    const double real =
        0.25 * longest.most.at({0, Note::q_ghost}) * longest.most.at({0, Note::k_ghost});
    EXPECT_LE(real, anchors[0].ghosts_add);
    EXPECT_GT(real, anchors[0].ghosts_add / 300);
    EXPECT_FALSE(anchors[0].quiet());
    const auto& phantom = m.weights.layers[0].attention.phantom;
    const double bound = 0.25 * phantom.mix_q.o.weight.norm * phantom.mix_k.o.weight.norm *
                         longest_head(anchors[0].q.v, m.config.head_dim) *
                         longest_head(anchors[0].k.v, m.config.head_dim);
    EXPECT_NEAR(anchors[0].ghosts_add, bound, 1e-5 * bound);
  }
}

TEST(Quiet, NormsAreBounded) {
  Made m(1);
  Random random(5);
  Packed& w = m.weights.layers[0].attention.phantom.mix_q.o.weight.packed;
  const float norm = norm_bound(w);
  std::vector<float> row(size_t(w.columns)), x(size_t(w.columns), 1);
  double reached = 0;
  for (int round = 0; round < 30; ++round) {  // power iteration: W' W x
    std::vector<double> back(x.size());
    double from = 0, to = 0;
    for (const float value : x) from += double(value) * value;
    for (int r = 0; r < w.rows; ++r) {
      w.unpack_row(r, row.data());
      double y = 0;
      for (size_t i = 0; i < x.size(); ++i) y += double(row[i]) * x[i];
      for (size_t i = 0; i < x.size(); ++i) back[i] += y * row[i];
      to += y * y;
    }
    reached = std::sqrt(to / from);
    const double scale = 1 / std::sqrt(from) / (reached * reached);
    for (size_t i = 0; i < x.size(); ++i) x[i] = float(back[i] * scale);
  }
  EXPECT_LE(reached, norm);
  EXPECT_GT(reached, norm / 2);
}

// The numbers are the same up to what was promised, and
// nobody has computed what the queries' mixers say.
TEST(Quiet, GhostsThatCannotCountAreNotComputed) {
  Made m(1e-7), loud(1e-7);
  for (auto& layer : loud.weights.layers)
    layer.attention.phantom.mix_q.o.weight.norm = std::numeric_limits<float>::infinity();
  const Tensor some = together(m, {one}), all = together(loud, {one});
  for (size_t i = 0; i < all.size(); ++i) EXPECT_NEAR(some.data()[i], all.data()[i], 2e-6);
  const Bits expected = bits(some, 0, some.rows);
  m.spoil_queries();
  const Tensor spoilt = together(m, {one});
  EXPECT_EQ(bits(spoilt, 0, spoilt.rows), expected);
  loud.spoil_queries();
  EXPECT_TRUE(std::isnan(together(loud, {one}).data()[0]));
  // Who looks on sees the ghosts, and the same logits.
  Longest longest;
  const Tensor seen = together(Made(1e-7), {one}, &longest);
  EXPECT_EQ(bits(seen, 0, seen.rows), expected);
  EXPECT_GT(longest.most.at({1, Note::q_ghost}), 0);
}

// Whatever the pieces of the prompt, in generated steps and in every cache's type; who looks on
// sees real ghosts in the cache, else there are zeros.
TEST(Quiet, PiecesAndStepsChangeNoBit) {
  const Made m(1e-7);
  for (const Format type : {Format::f32, Format::f16, Format::bf16}) {
    const auto fed = [&](int piece, Observer* observer) {
      Sequence sequence(m.config, type);
      Sequence* const sequences[] = {&sequence};
      const Native native{m.config, m.weights, pool(), observer};
      Bits all;
      for (int at = 0; at < 10;) {
        const int rows = at < 7 ? std::min(piece, 7 - at) : 1;
        Ids ids;
        for (int i = at; i < at + rows; ++i) ids.push_back(one[size_t(i) % one.size()]);
        Step step;
        step.add(0, at, rows, at < 7 ? 7 : at + 1, at < 7);
        const Tensor x = logits(native, forward(native, step, sequences, ids));
        const Bits more = bits(x, 0, x.rows);
        all.insert(all.end(), more.begin(), more.end());
        at += rows;
      }
      EXPECT_TRUE(sequence.anchor(0).quiet());
      const std::byte* ghosts = sequence.block(1, 0, CachePart::ghost_k, 0, 3);
      bool silent = true;
      for (int i = 0; i < m.config.head_dim; ++i)
        silent = silent && sequence.shape().number(ghosts, CachePart::ghost_k, 3, i) == 0;
      EXPECT_EQ(silent, observer == nullptr);
      return all;
    };
    const Bits whole = fed(7, nullptr);
    for (const int piece : {1, 3}) EXPECT_EQ(fed(piece, nullptr), whole) << piece;
    Longest longest;
    EXPECT_EQ(fed(3, &longest), whole);
  }
}

TEST(Quiet, WhatIsNoNumberIsLoud) {
  Made m(1e-7);
  for (auto& layer : m.weights.layers) Made::spoil(layer.attention.phantom.mix_k.v.weight.packed);
  std::vector<Anchor> anchors;
  const Tensor made = together(m, {one}, nullptr, &anchors);
  EXPECT_FALSE(anchors[0].quiet());
  EXPECT_TRUE(std::isnan(made.data()[0]));
}

// Each sequence by its own first row, whoever else is in the step.
TEST(Quiet, EachSequenceDecidesForItself) {
  std::vector<Anchor> anchors;
  together(Made(1), {one, other}, nullptr, &anchors);
  const double a = anchors[0].ghosts_add, b = anchors[1].ghosts_add;
  ASSERT_GT(std::max(a, b), 1.01 * std::min(a, b));
  const Made m(std::sqrt(1e-7 / std::sqrt(a * b)));
  anchors.clear();
  const Tensor both = together(m, {one, other}, nullptr, &anchors);
  EXPECT_NE(anchors[0].quiet(), anchors[1].quiet());
  EXPECT_EQ(bits(both, 0, 7), bits(together(m, {one}), 0, 7));
  EXPECT_EQ(bits(both, 7, 5), bits(together(m, {other}), 0, 5));
  const Tensor turned = together(m, {other, one});
  EXPECT_EQ(bits(turned, 0, 5), bits(both, 7, 5));
  EXPECT_EQ(bits(turned, 5, 7), bits(both, 0, 7));
  Made spoilt = m;  // who is loud in the first layer has no numbers now
  Made::spoil(spoilt.weights.layers[0].attention.phantom.mix_q.q.weight.packed);
  const bool quiet = anchors[0].quiet();
  const Tensor there = together(spoilt, {one, other}), back = together(spoilt, {other, one});
  EXPECT_EQ(std::isnan(there.row(0)[0]), !quiet);
  EXPECT_EQ(std::isnan(there.row(7)[0]), quiet);
  EXPECT_EQ(std::isnan(back.row(0)[0]), quiet);
  EXPECT_EQ(std::isnan(back.row(5)[0]), !quiet);
}

}  // namespace
}  // namespace revenant
