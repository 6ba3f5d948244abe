// Products of bf16 weights with bf16 inputs in AMX's tiles (vec_amx.h), instead of text_linear.h's.
// Weights are read where they are, [n, k], and turned into tiles by chunks:
//
//   stretches of K: 512
//     32 outputs: a chunk of 32 KB, in the first cache, turned once for
//       blocks of 32 rows: inputs as prepare left them, 32 KB a chunk, from the second cache.
//
// To turn a tile of 1 KB takes some 80 cycles, five products: a tenth of the time at 512 rows.
// Between chunks the sums wait in `out`, which does not change them.
#pragma once

#include "kernels/text_channels.h"
#include "kernels/text_linear.h"
#include "kernels/vec_amx.h"

namespace revenant {
namespace {

constexpr size_t block_side = 2 * tile_side, tiles_depth = 512;

struct TilesProduct {
  const Brain* x;  // [rows, k]
  size_t rows;
  const Brain* w;  // [n, k]
  size_t n, k;
  float* out;
  size_t out_stride;
};

// 32 of K of a row, zeros where there are none.
inline Ints some_of(const Brain* row, size_t count) {
  return (Ints)(count >= tile_k ? load_pairs(row) : load_some_pairs(row, count));
}

// Rows [from, from + count) of `matrix` [.., k] as tiles, those of `side` rows together, K [begin,
// begin + depth), zeros behind both; `turned`: as factor b.
template <size_t side>
inline void tiles_of(const Brain* matrix, size_t k, size_t from, size_t count, size_t begin,
                     size_t depth, bool turned, Pair* to) {
  for (size_t at = 0; at < depth; at += tile_k)
    for (size_t half = 0; half < side; half += tile_side) {
      Ints r[tile_side];
#pragma GCC unroll 16
      for (size_t i = 0; i < tile_side; ++i)
        r[i] = half + i < count ? some_of(matrix + (from + half + i) * k + begin + at, depth - at)
                                : _mm512_setzero_si512();
      if (turned) transpose(r);
#pragma GCC unroll 16
      for (size_t i = 0; i < tile_side; ++i, to += tile_side) store_ints(to, r[i]);
    }
}

// Rows from `r` on and outputs from `j` on through a chunk.
inline void block_of_rows(const TilesProduct& p, const Pair* chunk, size_t r, size_t j,
                          size_t begin, size_t depth) {
  const size_t rows = lesser(block_side, p.rows - r), n = lesser(block_side, p.n - j),
               steps = (depth + tile_k - 1) / tile_k, across = p.k / 2;
  const bool starts = begin == 0;
  const auto* const x = reinterpret_cast<const Pair*>(p.x + r * p.k + begin);
  alignas(64) Pair copied[tiles_depth / tile_k * 2 * tile_pairs];
  Rows32 a{x, x + tile_side * across, across, tile_side};
  if (rows < block_side || depth % tile_k != 0 || p.k % 2 != 0) {
    tiles_of<block_side>(p.x, p.k, r, rows, begin, depth, false, copied);
    a = {copied, copied + tile_pairs, tile_side, 2 * tile_pairs};
    written(copied);
  }
  some_of_tiles(a, chunk, steps, starts, nullptr, rows, n, p.out + r * p.out_stride + j,
                p.out_stride);
}

// Up to 16 rows: weights are factor a, as they lie, and the rows are turned, once for all outputs:
// 64 KB a stretch of K. Sums are numbers of the same instructions in the same order.
constexpr size_t few_depth = 2048;

// Sums [16 outputs, 16 rows] from `out` or to it.
inline void turn_sums(const TilesProduct& p, size_t j, float (&sums)[tile_side][tile_side],
                      bool into_out) {
  for (size_t r = 0; r < p.rows; ++r)
    for (size_t i = 0; i < lesser(tile_side, p.n - j); ++i) {
      float& there = p.out[r * p.out_stride + j + i];
      if (into_out)
        there = sums[i][r];
      else
        sums[i][r] = there;
    }
}

void few_rows(const TilesProduct& p, size_t begin, size_t depth) {
  alignas(64) Pair turned[few_depth / tile_k * tile_pairs], copied[few_depth / tile_k * tile_pairs];
  alignas(64) float sums[tile_side][tile_side] = {};
  const size_t steps = (depth + tile_k - 1) / tile_k;
  tiles_of<tile_side>(p.x, p.k, 0, p.rows, begin, depth, true, turned);
  written(turned);
  for (size_t j = 0; j < p.n; j += tile_side) {
    const Brain* w = p.w + j * p.k + begin;
    size_t stride = p.k * sizeof(Brain), step = tile_k * sizeof(Brain);
    const bool whole = p.n - j >= tile_side && depth % tile_k == 0;
    if (!whole) {
      tiles_of<tile_side>(p.w, p.k, j, lesser(tile_side, p.n - j), begin, depth, false, copied);
      w = reinterpret_cast<const Brain*>(copied), stride = 64, step = tile_pairs * sizeof(Pair);
    }
    if (begin > 0) turn_sums(p, j, sums, false);
    written(sums);
    if (begin > 0)
      _tile_loadd(0, sums, 64);
    else
      _tile_zero(0);
    const auto* at = reinterpret_cast<const std::byte*>(w);
    for (size_t s = 0; s < steps; ++s, at += step) {
      _tile_loadd(4, at, long(stride));
      _tile_loadd(6, turned + s * tile_pairs, 64);
      _tile_dpbf16ps(0, 4, 6);
#pragma GCC unroll 16
      for (size_t i = 0; whole && i < tile_side; ++i)
        __builtin_prefetch(at + (tile_side + i) * stride, 0, 2);
    }
    _tile_stored(0, sums, 64);
    turn_sums(p, j, sums, true);
  }
}

// One row is a tile of one column as it lies, and its sums are numbers of `out`.
void one_row(const TilesProduct& p) {
  const Tiles tiles(1);
  const auto* const x = reinterpret_cast<const Pair*>(p.x);
  const auto stride = long(p.k * sizeof(Brain));
  written(x);
  for (size_t j = 0; j < p.n; j += tile_side) {
    const Brain* w = p.w + j * p.k;
    _tile_zero(0);
    for (size_t at = 0; at < p.k; at += tile_k, w += tile_k) {
      _tile_loadd(6, x + at / 2, sizeof(Pair));
      _tile_loadd(4, w, stride);
      _tile_dpbf16ps(0, 4, 6);
#pragma GCC unroll 16
      for (size_t i = tile_side; i < 2 * tile_side; ++i) __builtin_prefetch(w + i * p.k, 0, 2);
    }
    _tile_stored(0, p.out + j, sizeof(float));
  }
}

void many_rows(const TilesProduct& p, size_t begin, size_t depth) {
  alignas(64) Pair chunk[tiles_depth / tile_k * 2 * tile_pairs];
  for (size_t j = 0; j < p.n; j += block_side) {
    tiles_of<block_side>(p.w, p.k, j, lesser(block_side, p.n - j), begin, depth, true, chunk);
    written(chunk);
    for (size_t r = 0; r < p.rows; r += block_side) block_of_rows(p, chunk, r, j, begin, depth);
  }
}

// Products of text_channels.h: two units of a panel are a tile of 64 k by 16 outputs as they lie,
// and a row of inputs one of a tile's. Sums of 32 rows and 32 outputs stay in tiles for all of K.
// Strips of rows as there; the last 32 rows of a product are a block whatever stands before them.
void channels_in_tiles(const ChannelsProduct& p) {
  constexpr size_t tile_bytes = 2 * unit_groups * group_bytes;
  const size_t units = p.w.k / unit_k, steps = units / 2, row = int8_row_bytes(p.w.k);
  alignas(64) uint8_t tail[2][tile_bytes];  // where K is no multiple of 64
  alignas(64) int32_t sums[block_side][block_side];
  const Tiles tiles;
  written(p.x);
  const size_t strip = p.strip(block_side);
  for (size_t first = 0; first < p.rows; first += strip)
    for (size_t j = 0; j < p.w.n; j += block_side) {
      const uint8_t* panel[2];
      Vec scale[2];
      for (size_t v = 0; v < 2; ++v) {
        panel[v] = p.panel(j / panel_outputs + v), scale[v] = load(p.scales(panel[v]));
        if (units % 2 == 0) continue;
        __builtin_memcpy(tail[v], panel[v] + steps * tile_bytes, tile_bytes / 2);
        __builtin_memset(tail[v] + tile_bytes / 2, 0, tile_bytes / 2);
      }
      written(tail);
      const size_t end = lesser(first + strip, p.rows);
      for (size_t begin = first; begin < end; begin += block_side) {
        const size_t r = lesser(begin, p.rows - block_side);
        const int8_t *upper = p.row(r), *lower = p.row(r + tile_side);
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (size_t s = 0; s * 2 < units; ++s) {
          const bool whole = s < steps;
          _tile_loadd(4, upper + s * 64, long(row));
          _tile_loadd(6, whole ? panel[0] + s * tile_bytes : tail[0], 64);
          _tile_loadd(7, whole ? panel[1] + s * tile_bytes : tail[1], 64);
          _tile_dpbsud(0, 4, 6);
          _tile_dpbsud(1, 4, 7);
          _tile_loadd(5, lower + s * 64, long(row));
          _tile_dpbsud(2, 5, 6);
          _tile_dpbsud(3, 5, 7);
        }
        _tile_stored(0, sums[0], sizeof sums[0]);
        _tile_stored(1, sums[0] + tile_side, sizeof sums[0]);
        _tile_stored(2, sums[tile_side], sizeof sums[0]);
        _tile_stored(3, sums[tile_side] + tile_side, sizeof sums[0]);
        for (size_t i = 0; i < block_side; ++i) {
          const Int8RowEnd x = p.end_of(r + i);
          const Ints zero_part = all(-p.w.shape.zero * x.sum);
          for (size_t v = 0; v < 2; ++v) {
            const auto* there = reinterpret_cast<const uint8_t*>(sums[i] + v * tile_side);
            put_channels(p, r + i, j + v * tile_side, add(load_ints(there), zero_part), scale[v],
                         x.scale);
          }
        }
      }
    }
}

void linear_in_tiles(const WeightView& w, const void* x, size_t rows, const float* bias, float* out,
                     size_t out_stride) {
  if (rows == 0 || w.n == 0) return;
  TilesProduct p{static_cast<const Brain*>(x),
                 rows,
                 static_cast<const Brain*>(w.data),
                 w.n,
                 w.k,
                 out,
                 out_stride};
  if (rows == 1 && w.k % tile_k == 0) {
    p.n = w.n / tile_side * tile_side;
    one_row(p);
    p.w += p.n * w.k, p.out += p.n, p.n = w.n - p.n;
  }
  const bool few = rows <= tile_side;
  const size_t stretch = few ? few_depth : tiles_depth;
  const Tiles tiles;
  for (size_t begin = 0; begin < p.k && p.n > 0; begin += stretch)
    (few ? few_rows : many_rows)(p, begin, lesser(stretch, p.k - begin));
  if (bias)
    for (size_t r = 0; r < rows; ++r)
      for (size_t j = 0; j < w.n; ++j) out[r * out_stride + j] += bias[j];
}

}  // namespace
}  // namespace revenant
