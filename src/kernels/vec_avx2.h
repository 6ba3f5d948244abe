// The vector of text.h in AVX2 with FMA and F16C: 8 floats.
#pragma once

#include <immintrin.h>

#include "kernels/tables.h"

namespace revenant {
namespace {

using Vec = __m256;
constexpr size_t lanes = 8;
// Registers: 3 x 4 sums, 3 rows and one weight of 16.
constexpr size_t block_outputs = 4;
// Attention: 3 x 4 sums, what they meet, and 3 queries' numbers, of 16 registers.
constexpr size_t score_queries = 3;

inline Vec all(float x) { return _mm256_set1_ps(x); }
inline Vec zero() { return _mm256_setzero_ps(); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline __m256i first(size_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline Vec widen(__m128i brain) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(brain), 16));
}
inline __m128i load_16bit(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m128i load_16bit_some(const void* p, size_t n) {
  alignas(16) unsigned short copy[8] = {};
  __builtin_memcpy(copy, p, n * 2);
  return load_16bit(copy);
}
inline Vec load(const Brain* p) { return widen(load_16bit(p)); }
inline Vec load(const Half* p) { return _mm256_cvtph_ps(load_16bit(p)); }
// The first n < lanes elements, then zeros; nothing beyond them is touched.
inline Vec load_some(const float* p, size_t n) { return _mm256_maskload_ps(p, first(n)); }
inline Vec load_some(const Brain* p, size_t n) { return widen(load_16bit_some(p, n)); }
inline Vec load_some(const Half* p, size_t n) { return _mm256_cvtph_ps(load_16bit_some(p, n)); }
inline void store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
inline void store_some(float* p, size_t n, Vec x) { _mm256_maskstore_ps(p, first(n), x); }
// Rounded to nearest even; a NaN stays one.
inline __m128i narrowed(Vec x, const Half*) {
  return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
}
inline __m128i narrowed(Vec x, const Brain*) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(up, quiet, nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}
template <class T>
inline void store(T* p, Vec x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrowed(x, p));
}
template <class T>
inline void store_some(T* p, size_t n, Vec x) {
  alignas(16) unsigned short copy[8];
  _mm_store_si128(reinterpret_cast<__m128i*>(copy), narrowed(x, p));
  __builtin_memcpy(p, copy, n * 2);
}
// Loaded once for several uses: GCC would rather name the memory again in each.
inline Vec in_register(Vec x) {
  asm("" : "+x"(x));
  return x;
}

using Brains = Vec;  // no instruction multiplies brain floats
constexpr bool has_pairs = false;

// Whole numbers, 8 of them or 32 bytes. A tile: 3 x 2 int32 sums; the f32 ones are used once a unit
// and may wait in memory.
using Ints = __m256i;
constexpr size_t tile_rows = 3;
inline Ints all(int32_t x) { return _mm256_set1_epi32(x); }
inline Ints all_four(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  return _mm256_set1_epi32(four);
}
inline Ints load_ints(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline Vec to_floats(Ints x) { return _mm256_cvtepi32_ps(x); }
inline __m128i load_bytes(const uint8_t* p) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
}
inline Vec from_bytes(const uint8_t* p) { return to_floats(_mm256_cvtepu8_epi32(load_bytes(p))); }
inline Vec from_signed_bytes(const uint8_t* p) {
  return to_floats(_mm256_cvtepi8_epi32(load_bytes(p)));
}
inline Ints to_ints(Vec x) { return _mm256_cvtps_epi32(x); }  // nearest, ties to even
inline void store_ints(void* p, Ints x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
inline Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
inline int32_t sum(Ints x) {
  const __m128i half = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  const __m128i quarter = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(quarter, _mm_shuffle_epi32(quarter, 0xb1)));
}
// The low byte of each.
inline void store_low_bytes(int8_t* p, Ints x) {
  const Ints low = _mm256_shuffle_epi8(x, _mm256_set1_epi64x(0x0c080400));
  const __m128i both =
      _mm_unpacklo_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), both);
}
inline bool any_nan(Vec x) { return _mm256_movemask_ps(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)) != 0; }
// Each lane of sum plus its four products of a byte of w (from 0 up) with one of x (with a sign).
// vpmaddubsw would saturate here: two products of 255 and 127 leave 16 bits.
inline Ints add_fours(Ints sum, Ints w, Ints x) {
  const Ints even = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8), odd = _mm256_srai_epi16(x, 8);
  const Ints low = _mm256_and_si256(w, _mm256_set1_epi16(255)), high = _mm256_srli_epi16(w, 8);
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(low, even));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(high, odd));
}
// The same of w - 128, whose size meets x with its sign: two products of 128 and 127 are within 16
// bits.
constexpr bool signed_eights = true;
inline Ints add_signed_fours(Ints sum, Ints w, Ints x) {
  const Ints number = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
  const Ints pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(number), _mm256_sign_epi8(x, number));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
// Pairs of products of numbers of few bits, in 16 bits, of which text_panels.h knows how many fit.
constexpr bool sums_in_16 = true;
inline Ints pairs(Ints w, Ints x) { return _mm256_maddubs_epi16(w, x); }
inline Ints add_pairs(Ints narrow, Ints w, Ints x) {
  return _mm256_add_epi16(narrow, _mm256_maddubs_epi16(w, x));
}
inline Ints add_narrow(Ints sum, Ints narrow) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(narrow, _mm256_set1_epi16(1)));
}

// A NaN in b passes.
inline Vec greatest(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec least(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec magnitude(Vec x) { return _mm256_andnot_ps(all(-0.0f), x); }
// a with the sign of b; a must not be negative.
inline Vec with_sign(Vec a, Vec b) { return _mm256_or_ps(a, _mm256_and_ps(b, all(-0.0f))); }
inline Vec if_less(Vec x, Vec limit, Vec yes, Vec no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(x, limit, _CMP_LT_OQ));
}
inline Vec nearest(Vec x) { return _mm256_round_ps(x, 0); }
// In two steps, so that neither factor leaves the exponent's range; |n| < 250.
inline Vec times_power_of_two(Vec x, Vec n) {
  const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
  const auto power = [](__m256i e) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23));
  };
  return x * power(half) * power(_mm256_sub_epi32(whole, half));
}

// The sums of four vectors, each by halving: l + (l + 4), then + 2, + 1.
inline void sums(const Vec (&a)[4], float (&out)[4]) {
  const auto merge = [](Vec x, Vec y) {
    return _mm256_permute2f128_ps(x, y, 0x20) + _mm256_permute2f128_ps(x, y, 0x31);
  };
  const Vec p = merge(a[0], a[1]), q = merge(a[2], a[3]);
  const Vec pq = _mm256_shuffle_ps(p, q, 0x44) + _mm256_shuffle_ps(p, q, 0xee);
  const Vec each = _mm256_shuffle_ps(pq, pq, 0x88) + _mm256_shuffle_ps(pq, pq, 0xdd);
  _mm_storeu_ps(out, _mm_unpacklo_ps(_mm256_castps256_ps128(each), _mm256_extractf128_ps(each, 1)));
}
inline float sum(Vec x) {
  const __m128 half = _mm256_castps256_ps128(x) + _mm256_extractf128_ps(x, 1);
  const __m128 quarter = half + _mm_movehl_ps(half, half);
  return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}
inline float largest(Vec x) {
  const __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 quarter = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(quarter, _mm_movehdup_ps(quarter)));
}

}  // namespace
}  // namespace revenant
