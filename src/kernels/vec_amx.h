// What AMX adds to vec_avx512.h: products of bf16 in tiles of 16 rows of 64 bytes.
//
//   c [16, 16] f32 += a [16, 32] b' [16, 32]
//
// in one instruction of 16 cycles, a with its 32 k in a row, b with its pairs of k as rows: pair p
// of all 16 columns. A number of c is summed by k alone, so its bits do not depend on what else
// stands in its tile.
#pragma once

#include "kernels/vec_avx512.h"

namespace revenant {
namespace {

using Pair = uint32_t;  // of bf16
constexpr size_t tile_side = 16, tile_k = 32, tile_pairs = tile_side * tile_side;

// GCC 12's tile instructions do not tell it that they read memory.
inline void written(const void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

// Eight tiles, which this thread has for as long as this lives: 0 to 3 are sums, 4 and 5 are of a,
// 6 and 7 of b, which has so many columns.
class Tiles {
 public:
  explicit Tiles(size_t columns = tile_side) {
    struct {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } shapes;
    for (size_t t = 0; t < 8; ++t) {
      shapes.row_bytes[t] = t == 4 || t == 5 ? 64 : uint16_t(columns * sizeof(Pair));
      shapes.rows[t] = tile_side;
    }
    written(&shapes);
    _tile_loadconfig(&shapes);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
};

// 16 rows of 16 pairs.
inline void transpose(Ints (&r)[tile_side]) {
  Ints t[tile_side];
#pragma GCC unroll 8
  for (size_t i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 2
  for (size_t i = 0; i < 16; i += 8)
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) {
      t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
      t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
    }
#pragma GCC unroll 8
  for (size_t j = 0; j < 8; ++j) {
    r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
    r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
  }
}

// Tiles of a's 32 rows, as they lie: `stride` pairs from row to row, `step` from tile to tile.
struct Rows32 {
  const Pair *upper, *lower;
  size_t stride, step;
};

// c [32, 32] += a b' over `steps` of 32 k; `starts`: every row of c counts as `first` [32], or,
// null, as 0. b: two packed tiles a step. Each tile loaded is used twice: four products of 16
// cycles to four loads of 8. Without `lower` and `right` c is of 16 rows and columns, and the other
// tiles are not read.
template <bool lower = true, bool right = true>
inline void block_of_tiles(Rows32 a, const Pair* b, size_t steps, bool starts, const float* first,
                           float* c, size_t c_stride) {
  const auto bytes = long(c_stride * sizeof(float)), a_bytes = long(a.stride * sizeof(Pair));
  float* const below = c + tile_side * c_stride;
  written(c);
  if (starts && first) {  // the same row 16 times
    _tile_loadd(0, first, 0);
    if constexpr (right) _tile_loadd(1, first + tile_side, 0);
    if constexpr (lower) _tile_loadd(2, first, 0);
    if constexpr (lower && right) _tile_loadd(3, first + tile_side, 0);
  } else if (starts) {
    _tile_zero(0);
    if constexpr (right) _tile_zero(1);
    if constexpr (lower) _tile_zero(2);
    if constexpr (lower && right) _tile_zero(3);
  } else {
    _tile_loadd(0, c, bytes);
    if constexpr (right) _tile_loadd(1, c + tile_side, bytes);
    if constexpr (lower) _tile_loadd(2, below, bytes);
    if constexpr (lower && right) _tile_loadd(3, below + tile_side, bytes);
  }
  for (size_t s = 0; s < steps; ++s, b += 2 * tile_pairs) {
    _tile_loadd(4, a.upper + s * a.step, a_bytes);
    _tile_loadd(6, b, 64);
    if constexpr (right) _tile_loadd(7, b + tile_pairs, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (right) _tile_dpbf16ps(1, 4, 7);
    if constexpr (lower) {
      _tile_loadd(5, a.lower + s * a.step, a_bytes);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (right) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, bytes);
  if constexpr (right) _tile_stored(1, c + tile_side, bytes);
  if constexpr (lower) _tile_stored(2, below, bytes);
  if constexpr (lower && right) _tile_stored(3, below + tile_side, bytes);
}

// The same of `rows` rows and `columns` columns of c, 32 at most: what is beyond is not touched.
inline void some_of_tiles(Rows32 a, const Pair* b, size_t steps, bool starts, const float* first,
                          size_t rows, size_t columns, float* c, size_t c_stride) {
  constexpr size_t side = 2 * tile_side;
  if (rows == side && columns == side)
    return block_of_tiles(a, b, steps, starts, first, c, c_stride);
  alignas(64) float of_first[side];
  if (first)
    first = static_cast<float*>(__builtin_memcpy(of_first, first, columns * sizeof(float)));
  alignas(64) float edge[side * side];  // what is not copied into it is not copied back
  for (size_t r = 0; r < rows && !starts; ++r)
    __builtin_memcpy(edge + r * side, c + r * c_stride, columns * sizeof(float));
  const auto block =
      rows > tile_side
          ? (columns > tile_side ? block_of_tiles<true, true> : block_of_tiles<true, false>)
          : (columns > tile_side ? block_of_tiles<false, true> : block_of_tiles<false, false>);
  block(a, b, steps, starts, first, edge, side);
  for (size_t r = 0; r < rows; ++r)
    __builtin_memcpy(c + r * c_stride, edge + r * side, columns * sizeof(float));
}

}  // namespace
}  // namespace revenant
