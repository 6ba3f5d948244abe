#include "kernels/gemm_tiles.h"
#include "kernels/vec_amx.h"

namespace revenant {
namespace {

static_assert(gemm_side == 2 * tile_side && gemm_step == tile_k && gemm_pairs == tile_pairs);

inline __mmask16 up_to(size_t count) { return count >= 16 ? __mmask16(0xffff) : first(count); }

// 16 numbers as bf16, and 0 behind the first `count`.
inline __m256i bf16s(const GemmFactor& f, size_t at, size_t count) {
  if (f.is_bf16)
    return _mm256_maskz_loadu_epi16(up_to(count), static_cast<const uint16_t*>(f.values) + at);
  const Vec x = _mm512_maskz_loadu_ps(up_to(count), static_cast<const float*>(f.values) + at);
  return (__m256i)_mm512_cvtneps_pbh(x);
}

inline Ints joined(__m256i low, __m256i high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

inline size_t beyond(size_t count, size_t n) { return count > n ? count - n : 0; }

void pack_tile(const GemmFactor& f, size_t row, size_t rows, size_t k, size_t depth, bool turned,
               Pair* to) {
  Ints r[tile_side];
  if (f.along_k) {
    for (size_t i = 0; i < tile_side; ++i) {
      const size_t at = (row + i) * f.stride + k;
      r[i] = i < rows ? joined(bf16s(f, at, depth), bf16s(f, at + 16, beyond(depth, 16)))
                      : _mm512_setzero_si512();
    }
  } else {  // two rows of memory are a row of pairs
    const Ints in_turn =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (size_t i = 0; i < tile_side; ++i) {
      const size_t at = (k + 2 * i) * f.stride + row;
      const Ints both = joined(bf16s(f, at, 2 * i < depth ? rows : 0),
                               bf16s(f, at + f.stride, 2 * i + 1 < depth ? rows : 0));
      r[i] = _mm512_permutexvar_epi16(in_turn, both);
    }
  }
  if (f.along_k == turned) transpose(r);
  for (size_t i = 0; i < tile_side; ++i) store_ints(to + i * tile_side, r[i]);
}

}  // namespace

void pack_tiles(const GemmFactor& f, size_t row, size_t rows, size_t k, size_t depth, bool turned,
                uint32_t* to) noexcept {
  for (size_t at = 0; at < depth; at += gemm_step)
    for (size_t half = 0; half < gemm_side; half += tile_side, to += gemm_pairs)
      pack_tile(f, row + half, beyond(rows, half), k + at, depth - at, turned, to);
}

void gemm_block(const uint32_t* a, const uint32_t* b, size_t steps, bool starts, size_t rows,
                size_t columns, float* c, size_t stride) noexcept {
  const Tiles tiles;
  const Rows32 block = {a, a + tile_pairs, tile_side, 2 * tile_pairs};
  written(a), written(b);
  for (size_t j = 0; j < columns; j += gemm_side, b += steps * 2 * tile_pairs) {
    const size_t some = columns - j < gemm_side ? columns - j : gemm_side;
    some_of_tiles(block, b, steps, starts, rows, some, c + j, stride);
  }
}

}  // namespace revenant
