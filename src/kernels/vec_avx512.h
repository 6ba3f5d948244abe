// The vector of text.h in AVX-512 (F, BW, VL, DQ; with VNNI and BF16 where the including file has
// them): 16 floats.
#pragma once

#include <immintrin.h>

#include "kernels/tables.h"

namespace revenant {
namespace {

using Vec = __m512;
constexpr size_t lanes = 16;
// Registers: 3 x 8 sums, 3 rows and one weight of 32.
constexpr size_t block_outputs = 8;
// Attention: 7 x 4 sums, what they meet, and a query's number.
constexpr size_t score_queries = 7;

inline Vec all(float x) { return _mm512_set1_ps(x); }
inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline __mmask16 first(size_t n) { return __mmask16((1u << n) - 1); }

inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline Vec widen(__m256i brain) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(brain), 16));
}
inline Vec load(const Brain* p) {
  return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Vec load(const Half* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
// The first n < lanes elements, then zeros; nothing beyond them is touched.
inline Vec load_some(const float* p, size_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
inline Vec load_some(const Brain* p, size_t n) {
  return widen(_mm256_maskz_loadu_epi16(first(n), p));
}
inline Vec load_some(const Half* p, size_t n) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p));
}
inline void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
inline void store_some(float* p, size_t n, Vec x) { _mm512_mask_storeu_ps(p, first(n), x); }
// Rounded to nearest even; a NaN stays one.
inline __m256i narrowed(Vec x, const Half*) {
  return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline __m256i narrowed(Vec x, const Brain*) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_blend_epi32(nan, up, quiet), 16));
}
template <class T>
inline void store(T* p, Vec x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrowed(x, p));
}
template <class T>
inline void store_some(T* p, size_t n, Vec x) {
  _mm256_mask_storeu_epi16(p, first(n), narrowed(x, p));
}
// Loaded once for several uses: GCC would rather name the memory again in each.
inline Vec in_register(Vec x) {
  asm("" : "+v"(x));
  return x;
}

// What products of floats are made of; with BF16, 32 brain floats in pairs that are summed.
#ifdef __AVX512BF16__
using Brains = __m512bh;
constexpr bool has_pairs = true;
inline Brains load_pairs(const Brain* p) { return (Brains)_mm512_loadu_si512(p); }
inline Brains load_some_pairs(const Brain* p, size_t n) {
  return (Brains)_mm512_maskz_loadu_epi16(__mmask32((uint64_t(1) << n) - 1), p);
}
inline Vec fma(Brains a, Brains b, Vec c) { return _mm512_dpbf16_ps(c, a, b); }
inline Brains in_register(Brains x) {
  asm("" : "+v"(x));
  return x;
}
#else
using Brains = Vec;
constexpr bool has_pairs = false;
#endif

// Whole numbers, 16 of them or 64 bytes. A tile: 6 x 2 int32 sums and as many of f32, two weights,
// one x, two scales of 32 registers.
using Ints = __m512i;
constexpr size_t tile_rows = 6;
inline Ints all(int32_t x) { return _mm512_set1_epi32(x); }
inline Ints all_four(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}
inline Ints load_ints(const uint8_t* p) { return _mm512_loadu_si512(p); }
inline Vec to_floats(Ints x) { return _mm512_cvtepi32_ps(x); }
inline __m128i load_bytes(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline Vec from_bytes(const uint8_t* p) { return to_floats(_mm512_cvtepu8_epi32(load_bytes(p))); }
inline Vec from_signed_bytes(const uint8_t* p) {
  return to_floats(_mm512_cvtepi8_epi32(load_bytes(p)));
}
inline Ints to_ints(Vec x) { return _mm512_cvtps_epi32(x); }  // nearest, ties to even
inline void store_ints(void* p, Ints x) { _mm512_storeu_si512(p, x); }
inline Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
inline int32_t sum(Ints x) { return _mm512_reduce_add_epi32(x); }
// The low byte of each.
inline void store_low_bytes(int8_t* p, Ints x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
}
inline bool any_nan(Vec x) { return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q) != 0; }
// Each lane of sum plus its four products of a byte of w (from 0 up) with one of x (with a sign).
inline Ints add_fours(Ints sum, Ints w, Ints x) {
#ifdef __AVX512VNNI__
  return _mm512_dpbusd_epi32(sum, w, x);
#else
  const Ints even = _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8), odd = _mm512_srai_epi16(x, 8);
  const Ints low = _mm512_and_si512(w, _mm512_set1_epi16(255)), high = _mm512_srli_epi16(w, 8);
  sum = _mm512_add_epi32(sum, _mm512_madd_epi16(low, even));
  return _mm512_add_epi32(sum, _mm512_madd_epi16(high, odd));
#endif
}
constexpr bool signed_eights = false;
inline Ints add_signed_fours(Ints sum, Ints w, Ints x) { return add_fours(sum, w, x); }  // unused
// As in vec_avx2.h; with VNNI there is nothing to gain.
#ifdef __AVX512VNNI__
constexpr bool sums_in_16 = false;
#else
constexpr bool sums_in_16 = true;
#endif
inline Ints pairs(Ints w, Ints x) { return _mm512_maddubs_epi16(w, x); }
inline Ints add_pairs(Ints narrow, Ints w, Ints x) {
  return _mm512_add_epi16(narrow, _mm512_maddubs_epi16(w, x));
}
inline Ints add_narrow(Ints sum, Ints narrow) {
  return _mm512_add_epi32(sum, _mm512_madd_epi16(narrow, _mm512_set1_epi16(1)));
}

// A NaN in b passes.
inline Vec greatest(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec least(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline Vec magnitude(Vec x) { return _mm512_abs_ps(x); }
// a with the sign of b; a must not be negative.
inline Vec with_sign(Vec a, Vec b) { return _mm512_or_ps(a, _mm512_and_ps(b, all(-0.0f))); }
inline Vec if_less(Vec x, Vec limit, Vec yes, Vec no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), no, yes);
}
inline Vec nearest(Vec x) { return _mm512_roundscale_ps(x, 0); }
inline Vec times_power_of_two(Vec x, Vec n) { return _mm512_scalef_ps(x, n); }

// Sums of pairs of 256-bit, then 128-bit parts of two vectors, side by side.
inline Vec merge_4(Vec a, Vec b) {
  return _mm512_shuffle_f32x4(a, b, 0x44) + _mm512_shuffle_f32x4(a, b, 0xee);
}
inline Vec merge_2(Vec a, Vec b) {
  return _mm512_shuffle_f32x4(a, b, 0x88) + _mm512_shuffle_f32x4(a, b, 0xdd);
}
// The sums of eight vectors, each by halving: l + (l + 8), then + 4, + 2, + 1.
inline void sums(const Vec (&a)[8], float (&out)[8]) {
  const Vec p = merge_2(merge_4(a[0], a[1]), merge_4(a[2], a[3]));
  const Vec q = merge_2(merge_4(a[4], a[5]), merge_4(a[6], a[7]));
  const Vec pq = _mm512_shuffle_ps(p, q, 0x44) + _mm512_shuffle_ps(p, q, 0xee);
  const Vec each = _mm512_shuffle_ps(pq, pq, 0x88) + _mm512_shuffle_ps(pq, pq, 0xdd);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
  _mm256_storeu_ps(out, _mm512_castps512_ps256(_mm512_permutexvar_ps(order, each)));
}
inline float sum(Vec x) { return _mm512_reduce_add_ps(x); }
inline float largest(Vec x) { return _mm512_reduce_max_ps(x); }

}  // namespace
}  // namespace revenant
