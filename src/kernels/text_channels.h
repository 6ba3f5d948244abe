// Products of 8-bit weights in panels (panels.h), each output of one scale, with rows of one scale.
//
//   out[r, j] = (q[j] . xq[r]) (scale[j] xscale[r]) + bias[j]
//
// q . xq is exact in int32 over all of K, and nothing but the dots stands in the inner loop:
//
//   strips of rows             their inputs stay in the second cache: rows x K <= 768 KB
//     two vectors of outputs   their weights: 32 outputs x K, 32 KB at 1,024, from the second cache
//       channel_rows rows      2 channel_rows sums, two weights and one x <= all registers; a step
//                              of 4 k loads 128 bytes of weights for 2 channel_rows dots
#pragma once

#include "kernels/text_panels.h"

namespace revenant {
namespace {

constexpr size_t channel_rows = lanes == 16 ? 2 * tile_rows : tile_rows;

struct ChannelsProduct {
  Panels w;
  const int8_t* x;
  size_t rows;
  const float* bias;
  float* out;
  size_t out_stride;

  const int8_t* row(size_t r) const { return x + r * int8_row_bytes(w.k); }
  Int8RowEnd end_of(size_t r) const {
    Int8RowEnd end;
    __builtin_memcpy(&end, row(r) + int8_row_numbers(w.k), sizeof end);
    return end;
  }
  const uint8_t* panel(size_t i) const {  // that of the last outputs stands for those behind it
    return w.data + lesser(i, (w.n - 1) / panel_outputs) * w.sizes.panel;
  }
  // The first of a panel's scales; all others are the same.
  const Half* scales(const uint8_t* panel) const {
    return reinterpret_cast<const Half*>(panel + w.k / unit_k * w.sizes.unit);
  }
  size_t strip(size_t together) const {
    const size_t fit = second_cache / int8_row_bytes(w.k) / together * together;
    return fit < together ? together : fit;
  }
};

inline void put_channels(const ChannelsProduct& p, size_t r, size_t j, Ints sum, Vec scale,
                         float xscale) {
  if (j >= p.w.n) return;
  const size_t n = p.w.n - j;
  const Vec x = to_floats(sum) * (scale * all(xscale));
  put(p.out + r * p.out_stride + j, n, p.bias ? x + get(p.bias + j, n) : x);
}

// Rows [r, r + M) and two vectors of outputs.
template <size_t M>
void channels_tile(const ChannelsProduct& p, size_t r, size_t j) {
  const uint8_t* unit[2];
  Vec scale[2];
  for (size_t v = 0; v < 2; ++v) {
    const size_t at = v * lanes % panel_outputs;
    const uint8_t* panel = p.panel((j + v * lanes) / panel_outputs);
    unit[v] = panel + 4 * at, scale[v] = load(p.scales(panel) + at);
  }
  const int8_t* x[M];
  float xscale[M];
  Dots<8> dot[M][2];
#pragma GCC unroll 12
  for (size_t m = 0; m < M; ++m) {
    const Int8RowEnd end = p.end_of(r + m);
    x[m] = p.row(r + m), xscale[m] = end.scale;
    for (Dots<8>& d : dot[m]) d.begin(p.w.shape.zero, end.sum);
  }
  const size_t groups = p.w.k / 4;
  for (size_t g = 0; g < groups; ++g) {
    const Ints w0 = load_ints(unit[0] + g * group_bytes), w1 = load_ints(unit[1] + g * group_bytes);
#pragma GCC unroll 12
    for (size_t m = 0; m < M; ++m) {
      const Ints four = all_four(x[m] + 4 * g);
      dot[m][0].add(w0, four, g), dot[m][1].add(w1, four, g);
    }
  }
#pragma GCC unroll 12
  for (size_t m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (size_t v = 0; v < 2; ++v)
      put_channels(p, r + m, j + v * lanes, dot[m][v].sum, scale[v], xscale[m]);
}

template <size_t M = channel_rows>
inline void channels_of_rows(const ChannelsProduct& p, size_t r, size_t count, size_t j) {
  if constexpr (M > 0) {
    if (count == M) return channels_tile<M>(p, r, j);
    channels_of_rows<M - 1>(p, r, count, j);
  }
}

void product_of_channels(const ChannelsProduct& p) {
  const size_t strip = p.strip(channel_rows);
  for (size_t first = 0; first < p.rows; first += strip) {
    const size_t end = lesser(first + strip, p.rows);
    for (size_t j = 0; j < p.w.n; j += tile_outputs)
      for (size_t r = first; r < end; r += channel_rows)
        channels_of_rows(p, r, lesser(channel_rows, end - r), j);
  }
}

inline ChannelsProduct channels_product(const WeightView& w, const void* x, size_t rows,
                                        const float* bias, float* out, size_t out_stride) {
  return {
      {static_cast<const uint8_t*>(w.data), panel_shapes[0], panel_sizes(w.format, w.k), w.n, w.k},
      static_cast<const int8_t*>(x),
      rows,
      bias,
      out,
      out_stride};
}

// As quantise_32, of a whole row.
inline void quantise_row(const float* x, size_t k, int8_t* out) {
  Vec top = zero(), poison = zero();
  for (size_t i = 0; i < k; i += lanes) {
    const Vec v = load(x + i);
    top = greatest(top, magnitude(v));
    poison = poison + (v - v);
  }
  const float most = largest(top), inverse = most > least_int8_input ? 127.0f / most : 0.0f;
  Ints whole_sum = all(0);
  for (size_t i = 0; i < k; i += lanes) {
    const Ints whole = to_ints(load(x + i) * all(inverse));
    store_low_bytes(out + i, whole);
    whole_sum = add(whole_sum, whole);
  }
  const size_t numbers = int8_row_numbers(k);
  for (size_t i = k; i < numbers; ++i) out[i] = 0;
  const bool poisoned = any_nan(poison);
  const Int8RowEnd end{poisoned ? __builtin_nanf("") : most / 127.0f,
                       poisoned ? 0 : sum(whole_sum)};
  __builtin_memcpy(out + numbers, &end, sizeof end);
}

}  // namespace
}  // namespace revenant
