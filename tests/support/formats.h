// Models of random weights in other formats, and whether their answers depend on anything that they
// must not depend on.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "support/random_network.h"

namespace revenant {

// The linear layers of the language model, changed by f.
template <class F>
Weights<Weight> changed(Weights<Weight> w, const F& f) {
  for (LayerWeights<Weight>& l : w.layers)
    for (Linear<Weight>* linear : {&l.attention.q, &l.attention.k, &l.attention.v, &l.attention.o,
                                   &l.mlp.gate, &l.mlp.up, &l.mlp.down})
      f(linear->weight.packed);
  return w;
}

// In another format, or in what rows that are no whole blocks of it fall back to.
inline Weights<Weight> in_format(const Weights<Weight>& w, Format format, Threads& threads) {
  return changed(w, [&](Packed& packed) {
    const Packed plain = packed;
    packed = packed_floats(format_for(format, size_t(plain.columns)), plain.rows, plain.columns,
                           threads, [&](int row, float* out) { plain.unpack_row(row, out); });
  });
}

// `batch` sequences of one prompt each, fed in pieces, and three steps more; the logits of the last
// sequence's last rows.
inline std::vector<float> last_of(const Config& config, const Weights<Weight>& w, int batch,
                                  int piece, int threads, int length = 37,
                                  CacheTypes types = Format::f32, const Kernels* table = nullptr) {
  Threads pool(threads);
  const Native native{config, w, pool, nullptr, table};
  std::vector<Sequence> sequences;
  std::vector<Sequence*> pointers;
  for (int i = 0; i < batch; ++i) sequences.emplace_back(config, types);
  for (Sequence& sequence : sequences) pointers.push_back(&sequence);
  std::vector<float> values;
  const int end = length + 3;
  for (int at = 0; at < end;) {
    const int rows = at < length ? std::min(piece, length - at) : 1;
    Step step;
    std::vector<int> ids;
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

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Batches, pieces of the prompt and threads, one thing at a time, against one sequence alone.
inline void expect_the_same_bits(const Config& config, const Weights<Weight>& w, const char* name,
                                 int length, const std::vector<int>& batches,
                                 const std::vector<int>& pieces, const std::vector<int>& threads,
                                 CacheTypes types = Format::f32) {
  const auto made = [&](int batch, int piece, int count) {
    return last_of(config, w, batch, piece, count, length, types);
  };
  const std::vector<float> one = made(1, length, 1);
  for (const int batch : batches)
    EXPECT_TRUE(same_bits(made(batch, length, 2), one)) << name << " x " << batch;
  for (const int piece : pieces)
    EXPECT_TRUE(same_bits(made(1, piece, 2), one)) << name << " by " << piece;
  for (const int count : threads)
    EXPECT_TRUE(same_bits(made(1, length, count), one)) << name << " t " << count;
}

}  // namespace revenant
