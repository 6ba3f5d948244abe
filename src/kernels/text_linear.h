// Dot products in blocks of 3 rows x block_outputs outputs, and the matrix product made of them,
// for weights that lie in rows of f32, f16 or bf16: they are read where they are, mapped from the
// file. Lanes run along K; each output has one vector sum, K ascending, and one tree at the end.
// Inputs X are floats, or brain floats where the machine multiplies pairs of them (2 lanes a step).
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

// a[m][j] += x[m] . w[j] over n elements; with `ask`, what lies `ahead` elements further on is
// asked of memory meanwhile.
enum class Ask { nothing, weights, rows };

template <size_t M, Ask ask = Ask::nothing, class X, class W>
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
    for (size_t m = 0; m < M; ++m) {
      row[m] = load_as<X>(x[m] + i);
      if (ask == Ask::rows) __builtin_prefetch(x[m] + i + ahead);
    }
#pragma GCC unroll 8
    for (size_t j = 0; j < block_outputs; ++j) {
      const Operand<X> weight = in_register(load_as<X>(w[j] + i));
      if (ask == Ask::weights) __builtin_prefetch(w[j] + i + ahead, 0, 2);
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
  if (r == 0) add_dots<M, Ask::weights>(x, w, p.k, block_outputs * p.k, a);
  if (r > 0) add_dots<M>(x, w, p.k, 0, a);
  finish<M>(p, r, j, lesser(block_outputs, p.n - j), a);
}

// Up to this many rows are bound by reading the weights: no panel is worth its filling.
constexpr size_t few = 9;

template <class X, class W>
void few_rows(const Product<X, W>& p) {
  for (size_t j = 0; j < p.n; j += block_outputs) {
    const W* w[block_outputs];
    point(p, j, 0, w);
    size_t r = 0;
    for (; r + 3 <= p.rows; r += 3) block_in_place<3>(p, r, j, w);
    if (p.rows - r == 2) block_in_place<2>(p, r, j, w);
    if (p.rows - r == 1) block_in_place<1>(p, r, j, w);
  }
}

// A copy of a block of weights in the nearest cache; its rows are padded, since weights whose rows
// are a power of two apart would push each other out of it.
template <class W>
struct Panel {
  static constexpr size_t depth = panel_row / sizeof(W);
  alignas(64) W rows[block_outputs][depth + 64 / sizeof(W)];
};

// Up to this many rows share a filled panel; their unfinished sums wait on the stack.
constexpr size_t strip_rows = 192;

// Asks for one of `parts` equal parts of a block of weights that will be wanted later.
template <class W>
inline void ask_for(const W* const* w, size_t n, size_t part, size_t parts) {
  const size_t line = 64 / sizeof(W), lines = (n + line - 1) / line;
  const size_t begin = part * lines / parts * line, end = (part + 1) * lines / parts * line;
  for (size_t j = 0; j < block_outputs; ++j)
    for (size_t i = begin; i < end; i += line) __builtin_prefetch(w[j] + i, 0, 2);
}

// Adds the panel, which holds K [begin, begin + n), to the sums of rows [r, r + M).
template <size_t M, class X, class W>
void add_panel(const Product<X, W>& p, size_t r, size_t j, size_t begin, size_t n,
               const Panel<W>& panel, Vec (*waiting)[block_outputs]) {
  const X* x[M];
  const W* w[block_outputs];
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m) x[m] = p.x + (r + m) * p.k + begin;
  for (size_t i = 0; i < block_outputs; ++i) w[i] = panel.rows[i];
  Sums<M> a;
  if (begin == 0) clear<M>(a);
  if (begin > 0) __builtin_memcpy(a, waiting, sizeof a);
  add_dots<M, Ask::rows>(x, w, n, M * p.k, a);
  if (begin + n < p.k) __builtin_memcpy(waiting, a, sizeof a);
  if (begin + n == p.k) finish<M>(p, r, j, lesser(block_outputs, p.n - j), a);
}

// Rows [r, r + rows), rows <= strip_rows, outputs [j, j + block_outputs).
template <class X, class W>
void strip_block(const Product<X, W>& p, size_t r, size_t rows, size_t j) {
  Panel<W> panel;
  alignas(64) Vec waiting[strip_rows][block_outputs];
  const W *w[block_outputs], *next[block_outputs];
  const size_t parts = (p.k + Panel<W>::depth - 1) / Panel<W>::depth;
  const size_t depth = ((p.k + parts - 1) / parts + k_step<X> - 1) / k_step<X> * k_step<X>;
  for (size_t begin = 0; begin < p.k; begin += depth) {
    const size_t n = lesser(depth, p.k - begin);
    const bool last = begin + n == p.k;
    point(p, j, begin, w);
    point(p, last ? j + block_outputs : j, last ? 0 : begin + n, next);
    for (size_t i = 0; i < block_outputs; ++i) __builtin_memcpy(panel.rows[i], w[i], n * sizeof(W));
    size_t m = 0;
    for (; m + 3 <= rows; m += 3) {
      ask_for(next, n, m / 3, rows / 3);
      add_panel<3>(p, r + m, j, begin, n, panel, waiting + m);
    }
    if (rows - m == 2) add_panel<2>(p, r + m, j, begin, n, panel, waiting + m);
    if (rows - m == 1) add_panel<1>(p, r + m, j, begin, n, panel, waiting + m);
  }
}

// Strips of rows, up to 1 MB of them, that stay in the second cache while all weights pass by.
template <class X, class W>
void many_rows(const Product<X, W>& p) {
  const size_t fit = lesser(strip_rows, (size_t(1) << 18) / p.k) / 12 * 12;
  const size_t strip = fit < 12 ? 12 : fit;
  for (size_t r = 0; r < p.rows; r += strip)
    for (size_t j = 0; j < p.n; j += block_outputs) strip_block(p, r, lesser(strip, p.rows - r), j);
}

template <class X, class W>
void linear_of(const Product<X, W>& p) {
  if (p.rows <= few) return few_rows(p);
  many_rows(p);
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
