// Dot products in blocks of 3 rows x block_outputs outputs, and the matrix product made of them,
// for weights that lie in rows of f32, f16 or bf16: they are read where they are, mapped from the
// file. Lanes run along K; each output has one vector sum, K ascending, and one tree at the end.
// Inputs X are floats, or brain floats where the machine multiplies pairs of them (2 lanes a step).
//
// Three loops, from the outside, and what each keeps where:
//   strips of rows: their inputs stay in the second cache while all weights pass by once,
//     rows x k x 4 bytes <= 512 KB, whole multiples of 12 rows, 12 at least;
//   block_outputs outputs: their weights, block_outputs x k x 2 bytes, are read again for all
//     rows of the strip from the nearest cache that holds them;
//   3 rows x block_outputs: the sums, three inputs and one weight are registers,
//     3 block_outputs + 3 + 1 <= 16 of AVX2 and NEON -> 4, <= 32 of AVX-512 -> 8 (a tree at the end
//     takes eight sums).
#pragma once

namespace revenant {
namespace {

// What an input X and the weights it meets are multiplied as.
template <class X>
struct Multiplied {
  using type = Vec;
};
template <>
struct Multiplied<Brain> {
  using type = Brains;
};
template <class X>
using Operand = typename Multiplied<X>::type;
// What one step takes of K; every sum begins anew at a multiple of it.
template <class X>
constexpr size_t k_step = sizeof(X) == sizeof(float) ? lanes : 2 * lanes;
template <class X, class W>
inline Operand<X> load_as(const W* p) {
  if constexpr (sizeof(X) == sizeof(float))
    return load(p);
  else
    return load_pairs(p);
}
template <class X, class W>
inline Operand<X> load_some_as(const W* p, size_t n) {
  if constexpr (sizeof(X) == sizeof(float))
    return load_some(p, n);
  else
    return load_some_pairs(p, n);
}

inline size_t lesser(size_t a, size_t b) { return a < b ? a : b; }

template <size_t M>
using Sums = Vec[M][block_outputs];

template <size_t M>
inline void clear(Sums<M>& a) {
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m)
#pragma GCC unroll 8
    for (size_t j = 0; j < block_outputs; ++j) a[m][j] = zero();
}

// a[m][j] += x[m] . w[j] over n elements; with `ask`, the weights `ahead` elements further on are
// asked of memory meanwhile.
template <size_t M, bool ask = false, class X, class W>
[[gnu::always_inline]] inline void add_dots(const X* const* x, const W* const* w, size_t n,
                                            size_t ahead, Sums<M>& a) {
  constexpr size_t step = k_step<X>;
  Vec s[M][block_outputs];
  Operand<X> row[M];
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m)
#pragma GCC unroll 8
    for (size_t j = 0; j < block_outputs; ++j) s[m][j] = a[m][j];
  size_t i = 0;
  for (; i + step <= n; i += step) {
#pragma GCC unroll 3
    for (size_t m = 0; m < M; ++m) row[m] = load_as<X>(x[m] + i);
#pragma GCC unroll 8
    for (size_t j = 0; j < block_outputs; ++j) {
      const Operand<X> weight = in_register(load_as<X>(w[j] + i));
      if (ask) __builtin_prefetch(w[j] + i + ahead, 0, 2);
#pragma GCC unroll 3
      for (size_t m = 0; m < M; ++m) s[m][j] = fma(row[m], weight, s[m][j]);
    }
  }
  if (i < n) {
#pragma GCC unroll 8
    for (size_t m = 0; m < M; ++m) row[m] = load_some_as<X>(x[m] + i, n - i);
#pragma GCC unroll 8
    for (size_t j = 0; j < block_outputs; ++j) {
      const Operand<X> weight = load_some_as<X>(w[j] + i, n - i);
#pragma GCC unroll 8
      for (size_t m = 0; m < M; ++m) s[m][j] = fma(row[m], weight, s[m][j]);
    }
  }
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m)
#pragma GCC unroll 8
    for (size_t j = 0; j < block_outputs; ++j) a[m][j] = s[m][j];
}

template <class X, class W>
struct Product {
  const X* x;
  size_t rows;
  const W* w;
  size_t n, k;
  const float* bias;
  float* out;
  size_t out_stride;
};

// Ends the sums of rows [r, r + M) and outputs [j, j + count).
template <size_t M, class X, class W>
inline void finish(const Product<X, W>& p, size_t r, size_t j, size_t count, const Sums<M>& a) {
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m) {
    float values[block_outputs];
    sums(a[m], values);
    float* out = p.out + (r + m) * p.out_stride + j;
    for (size_t i = 0; i < count; ++i) out[i] = p.bias ? values[i] + p.bias[j + i] : values[i];
  }
}

// Weights of outputs [j, j + block_outputs) from K `begin` on; past the end the last one repeats.
template <class X, class W>
inline void point(const Product<X, W>& p, size_t j, size_t begin, const W* (&w)[block_outputs]) {
  for (size_t i = 0; i < block_outputs; ++i) w[i] = p.w + lesser(j + i, p.n - 1) * p.k + begin;
}

// Rows [r, r + M), one block of outputs, weights read in place.
template <size_t M, class X, class W>
inline void block_in_place(const Product<X, W>& p, size_t r, size_t j,
                           const W* const (&w)[block_outputs]) {
  const X* x[M];
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m) x[m] = p.x + (r + m) * p.k;
  Sums<M> a;
  clear<M>(a);
  if (r == 0) add_dots<M, true>(x, w, p.k, block_outputs * p.k, a);
  if (r > 0) add_dots<M>(x, w, p.k, 0, a);
  finish<M>(p, r, j, lesser(block_outputs, p.n - j), a);
}

// All weights pass by once a strip. A block of them, asked of memory while its first rows are
// summed, is read again for the strip's other rows from the nearest cache that holds it, one load
// for M sums: at 16 lanes of 2 bytes and M = 3 that is 21 bytes a cycle, which the second cache
// still gives. A copy of the block in the first cache, in pieces of K, was about as fast at best
// and up to 30 % slower.
template <class X, class W>
void linear_strip(const Product<X, W>& p) {
  for (size_t j = 0; j < p.n; j += block_outputs) {
    const W* w[block_outputs];
    point(p, j, 0, w);
    size_t r = 0;
    for (; r + 3 <= p.rows; r += 3) block_in_place<3>(p, r, j, w);
    if (p.rows - r == 2) block_in_place<2>(p, r, j, w);
    if (p.rows - r == 1) block_in_place<1>(p, r, j, w);
  }
}

// Rows of a strip: 512 KB of floats, so that they stay in the second cache while the weights pass.
constexpr size_t strip_elements = size_t(1) << 17;

template <class X, class W>
void linear_of(const Product<X, W>& p) {
  const size_t strip = p.k * 12 > strip_elements ? 12 : strip_elements / p.k / 12 * 12;
  for (size_t r = 0; r < p.rows; r += strip) {
    Product<X, W> part = p;
    part.x += r * p.k;
    part.rows = lesser(strip, p.rows - r);
    part.out += r * p.out_stride;
    linear_strip(part);
  }
}

template <class X, class W>
inline void linear_as(const WeightView& w, const void* x, size_t rows, const float* bias,
                      float* out, size_t out_stride) {
  if (rows == 0 || w.n == 0) return;
  linear_of<X, W>({static_cast<const X*>(x), rows, static_cast<const W*>(w.data), w.n, w.k, bias,
                   out, out_stride});
}

}  // namespace
}  // namespace revenant
