#include "kernels/gemm_tiles.h"
#include "kernels/vec_amx.h"

namespace revenant {
namespace {

static_assert(gemm_side == 2 * tile_side && gemm_step == tile_k && gemm_pairs == tile_pairs);

inline __mmask16 up_to(size_t count) { return count >= 16 ? __mmask16(0xffff) : first(count); }

inline size_t beyond(size_t count, size_t n) { return count > n ? count - n : 0; }

// The numbers of `low` and `high` that their masks name as bf16, and 0.
template <bool narrow>
inline Ints joined(const GemmFactor& f, size_t low, __mmask16 of_low, size_t high,
                   __mmask16 of_high) {
  if constexpr (narrow) {
    const auto* x = static_cast<const uint16_t*>(f.values);
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi16(of_low, x + low)),
                              _mm256_maskz_loadu_epi16(of_high, x + high), 1);
  } else {
    const auto* x = static_cast<const float*>(f.values);
    return (Ints)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(of_high, x + high),
                                     _mm512_maskz_loadu_ps(of_low, x + low));
  }
}

template <bool narrow>
void pack_tile(const GemmFactor& f, size_t row, size_t rows, size_t k, size_t depth, bool turned,
               Pair* to) {
  Ints r[tile_side];
  if (f.along_k) {
    const __mmask16 low = up_to(depth), high = up_to(beyond(depth, tile_side));
#pragma GCC unroll 4
    for (size_t i = 0; i < tile_side; ++i) {
      const size_t at = (row + i) * f.stride + k;
      r[i] = i < rows ? joined<narrow>(f, at, low, at + tile_side, high) : _mm512_setzero_si512();
    }
  } else {  // two rows of memory are a row of pairs
    const Ints in_turn =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __mmask16 all = up_to(rows);
#pragma GCC unroll 4
    for (size_t i = 0; i < tile_side; ++i) {
      const size_t at = (k + 2 * i) * f.stride + row;
      const __mmask16 low = 2 * i < depth ? all : 0, high = 2 * i + 1 < depth ? all : 0;
      r[i] = _mm512_permutexvar_epi16(in_turn, joined<narrow>(f, at, low, at + f.stride, high));
    }
  }
  if (f.along_k == turned) transpose(r);
  for (size_t i = 0; i < tile_side; ++i) store_ints(to + i * tile_side, r[i]);
}

}  // namespace

void pack_tiles(const GemmFactor& f, size_t row, size_t rows, size_t k, size_t depth, bool turned,
                uint32_t* to) noexcept {
  const auto pack = f.is_bf16 ? pack_tile<true> : pack_tile<false>;
  for (size_t at = 0; at < depth; at += gemm_step, to += 2 * gemm_pairs)
    for (size_t half = 0; half < rows; half += tile_side)
      pack(f, row + half, rows - half, k + at, depth - at, turned, to + half * tile_side);
}

void gemm_block(const uint32_t* a, const uint32_t* b, size_t steps, bool starts, const float* first,
                size_t rows, size_t columns, float* c, size_t stride) noexcept {
  const Tiles tiles;
  const Rows32 block = {a, a + tile_pairs, tile_side, 2 * tile_pairs};
  written(a), written(b);
  for (size_t j = 0; j < columns; j += gemm_side, b += steps * 2 * tile_pairs) {
    const size_t some = columns - j < gemm_side ? columns - j : gemm_side;
    some_of_tiles(block, b, steps, starts, first ? first + j : nullptr, rows, some, c + j, stride);
  }
}

}  // namespace revenant
