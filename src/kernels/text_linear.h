// Dot products in blocks of 3 rows x block_outputs outputs, and the matrix product made of them.
// Lanes run along K; each output has one vector sum, K ascending, and one tree at the end.
#pragma once

namespace revenant {
namespace {

constexpr size_t block_rows = 3;

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

// a[m][j] += x[m] . w[j] over n elements; with `ahead`, the same rows of the next block of outputs,
// that many elements further on, are asked for meanwhile.
template <size_t M, class W>
[[gnu::always_inline]] inline void add_dots(const float* const* x, const W* const* w, size_t n,
                                            size_t ahead, Sums<M>& a) {
  Vec s[M][block_outputs], row[M];
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m)
#pragma GCC unroll 8
    for (size_t j = 0; j < block_outputs; ++j) s[m][j] = a[m][j];
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
#pragma GCC unroll 3
    for (size_t m = 0; m < M; ++m) row[m] = load(x[m] + i);
#pragma GCC unroll 8
    for (size_t j = 0; j < block_outputs; ++j) {
      const Vec weight = in_register(load(w[j] + i));
      if (M == 1) __builtin_prefetch(w[j] + i + ahead);
#pragma GCC unroll 3
      for (size_t m = 0; m < M; ++m) s[m][j] = fma(row[m], weight, s[m][j]);
    }
  }
  if (i < n) {
#pragma GCC unroll 8
    for (size_t m = 0; m < M; ++m) row[m] = load_some(x[m] + i, n - i);
#pragma GCC unroll 8
    for (size_t j = 0; j < block_outputs; ++j) {
      const Vec weight = load_some(w[j] + i, n - i);
#pragma GCC unroll 8
      for (size_t m = 0; m < M; ++m) s[m][j] = fma(row[m], weight, s[m][j]);
    }
  }
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m)
#pragma GCC unroll 8
    for (size_t j = 0; j < block_outputs; ++j) a[m][j] = s[m][j];
}

template <class W>
struct Product {
  const float* x;
  size_t rows, x_stride;
  const W* w;
  size_t n, k;
  const float* bias;
  float* out;
  size_t out_stride;
};

// Ends the sums of rows [r, r + M) and outputs [j, j + count).
template <size_t M, class W>
inline void finish(const Product<W>& p, size_t r, size_t j, size_t count, const Sums<M>& a) {
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m) {
    float values[block_outputs];
    sums(a[m], values);
    float* out = p.out + (r + m) * p.out_stride + j;
    for (size_t i = 0; i < count; ++i) out[i] = p.bias ? values[i] + p.bias[j + i] : values[i];
  }
}

// M rows, all outputs, weights read in place: outputs past the end repeat the last one.
template <size_t M, class W>
void few_rows(const Product<W>& p) {
  const float* x[M];
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m) x[m] = p.x + m * p.x_stride;
  for (size_t j = 0; j < p.n; j += block_outputs) {
    const W* w[block_outputs];
    for (size_t i = 0; i < block_outputs; ++i) w[i] = p.w + lesser(j + i, p.n - 1) * p.k;
    Sums<M> a;
    clear<M>(a);
    add_dots<M>(x, w, p.k, block_outputs * p.k, a);
    finish<M>(p, 0, j, lesser(block_outputs, p.n - j), a);
  }
}

// A block of weights as floats, in the nearest cache; rows are padded against cache conflicts.
struct Panel {
  float rows[block_outputs][panel_depth + lanes];
};

template <class W>
void fill(Panel& panel, const W* const* w, size_t n) {
#pragma GCC unroll 8
  for (size_t j = 0; j < block_outputs; ++j) {
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) store(panel.rows[j] + i, load(w[j] + i));
    if (i < n) store(panel.rows[j] + i, load_some(w[j] + i, n - i));
  }
}

// Up to this many rows share a filled panel; their unfinished sums wait on the stack.
constexpr size_t strip_rows = 96;

// Adds the panel, which holds K [begin, begin + n), to the sums of rows [r, r + M).
template <size_t M, class W>
void add_panel(const Product<W>& p, size_t r, size_t j, size_t begin, size_t n, const Panel& panel,
               Vec (*waiting)[block_outputs]) {
  const float *x[M], *w[block_outputs];
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m) x[m] = p.x + (r + m) * p.x_stride + begin;
  for (size_t i = 0; i < block_outputs; ++i) w[i] = panel.rows[i];
  Sums<M> a;
  if (begin == 0) clear<M>(a);
  if (begin > 0) __builtin_memcpy(a, waiting, sizeof a);
  add_dots<M>(x, w, n, 0, a);
  if (begin + n < p.k) __builtin_memcpy(waiting, a, sizeof a);
  if (begin + n == p.k) finish<M>(p, r, j, lesser(block_outputs, p.n - j), a);
}

// Rows [r, r + rows), rows <= strip_rows, outputs [j, j + block_outputs).
template <class W>
void strip_block(const Product<W>& p, size_t r, size_t rows, size_t j) {
  alignas(64) Panel panel;
  alignas(64) Vec waiting[strip_rows][block_outputs];
  const size_t parts = (p.k + panel_depth - 1) / panel_depth;
  const size_t depth = ((p.k + parts - 1) / parts + lanes - 1) / lanes * lanes;
  for (size_t begin = 0; begin < p.k; begin += depth) {
    const size_t n = lesser(depth, p.k - begin);
    const W* w[block_outputs];
    for (size_t i = 0; i < block_outputs; ++i) w[i] = p.w + lesser(j + i, p.n - 1) * p.k + begin;
    fill(panel, w, n);
    size_t m = 0;
    for (; m + 3 <= rows; m += 3) add_panel<3>(p, r + m, j, begin, n, panel, waiting + m);
    if (rows - m == 2) add_panel<2>(p, r + m, j, begin, n, panel, waiting + m);
    if (rows - m == 1) add_panel<1>(p, r + m, j, begin, n, panel, waiting + m);
  }
}

// Strips of rows that stay in the second cache (512 KB of them) while all weights pass by.
template <class W>
void many_rows(const Product<W>& p) {
  const size_t fit = lesser(strip_rows, (size_t(1) << 17) / p.k) / 12 * 12;
  const size_t strip = fit < 12 ? 12 : fit;
  for (size_t r = 0; r < p.rows; r += strip)
    for (size_t j = 0; j < p.n; j += block_outputs) strip_block(p, r, lesser(strip, p.rows - r), j);
}

template <class W>
void linear_of(const Product<W>& p) {
  if (p.rows == 1) return few_rows<1>(p);
  if (p.rows == 2) return few_rows<2>(p);
  if (p.rows == 3) return few_rows<3>(p);
  many_rows(p);
}

void linear(const float* x, size_t rows, size_t x_stride, const void* w, WeightType type, size_t n,
            size_t k, const float* bias, float* out, size_t out_stride) noexcept {
  if (rows == 0 || n == 0) return;
  if (type == WeightType::f32)
    linear_of<float>(
        {x, rows, x_stride, static_cast<const float*>(w), n, k, bias, out, out_stride});
  if (type == WeightType::f16)
    linear_of<Half>({x, rows, x_stride, static_cast<const Half*>(w), n, k, bias, out, out_stride});
  if (type == WeightType::bf16)
    linear_of<Brain>(
        {x, rows, x_stride, static_cast<const Brain*>(w), n, k, bias, out, out_stride});
}

}  // namespace
}  // namespace revenant
