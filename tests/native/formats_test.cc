// Quantised weights end to end: one order of summation in every format, and an error that each
// format's bits explain.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "support/distance.h"
#include "support/random_network.h"

namespace revenant {
namespace {

using Ids = std::vector<int>;

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

// The linear layers of the language model in another format.
Weights<Weight> in_format(Weights<Weight> w, Format format, Threads& threads) {
  for (LayerWeights<Weight>& l : w.layers)
    for (Linear<Weight>* linear : {&l.attention.q, &l.attention.k, &l.attention.v, &l.attention.o,
                                   &l.mlp.gate, &l.mlp.up, &l.mlp.down}) {
      const Packed plain = linear->weight.packed;
      linear->weight.packed =
          packed_floats(format, plain.rows, plain.columns, threads,
                        [&](int row, float* out) { plain.unpack_row(row, out); });
    }
  return w;
}

// `batch` sequences of one prompt each, the last one 37 long, fed in pieces and three steps more;
// the logits of the last sequence's last rows.
std::vector<float> last_of(const Config& config, const Weights<Weight>& w, int batch, int piece,
                           int threads) {
  Threads pool(threads);
  const Native native{config, w, pool};
  std::vector<Sequence> sequences;
  std::vector<Sequence*> pointers;
  for (int i = 0; i < batch; ++i) sequences.emplace_back(config);
  for (Sequence& sequence : sequences) pointers.push_back(&sequence);
  std::vector<float> values;
  const int length = 37, end = length + 3;
  for (int at = 0; at < end;) {
    const int rows = at < length ? std::min(piece, length - at) : 1;
    Step step;
    Ids ids;
    for (int s = 0; s < batch; ++s) {
      step.add(s, at, rows, at < length ? length : at + 1, at < length);
      for (int i = at; i < at + rows; ++i) ids.push_back((i * 7 + (batch - 1 - s) * 3) % 49);
    }
    const Tensor last = last_rows(native, forward(native, step, pointers, ids), step);
    at += rows;
    if (at < length) continue;
    const Tensor y = logits(native, last);
    values.insert(values.end(), y.row(batch - 1), y.row(batch - 1) + y.row_size());
  }
  return values;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Formats, BatchPiecesAndThreadsChangeNoBit) {
  Threads threads(2);
  for (const RandomShape& shape : shapes) {
    const Config config = random_config(shape);
    const Weights<Weight> plain = random_weights(config, 7);
    for (const FormatInfo& f : formats()) {
      if (!is_quantised(f.format)) continue;
      const Weights<Weight> w = in_format(plain, f.format, threads);
      const std::vector<float> one = last_of(config, w, 1, 37, 1);
      for (const int batch : {2, 3, 8, 16})
        EXPECT_TRUE(same_bits(last_of(config, w, batch, 37, 2), one)) << f.name << " x " << batch;
      for (const int piece : {1, 7, 36})
        EXPECT_TRUE(same_bits(last_of(config, w, 1, piece, 2), one)) << f.name << " by " << piece;
      for (const int count : {2, 3, 4})
        EXPECT_TRUE(same_bits(last_of(config, w, 1, 37, count), one)) << f.name << " t " << count;
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

}  // namespace
}  // namespace revenant
