// The vector of text.h in AArch64's Advanced SIMD, with the dot product where the including file
// has it: 8 floats in two registers, so that a panel is two vectors and sums run as in vec_avx2.h.
#pragma once

#include <arm_neon.h>

#include "kernels/tables.h"

namespace revenant {
namespace {

struct Vec {
  float32x4_t low, high;
  float operator[](size_t i) const { return i < 4 ? low[i] : high[i - 4]; }
};
constexpr size_t lanes = 8;
// Registers: 3 x 4 sums, 3 rows and one weight, two each: all 32.
constexpr size_t block_outputs = 4;
// Attention: 3 x 4 pairs of registers of sums, what they meet, and a query's number.
constexpr size_t score_queries = 3;

inline Vec operator+(Vec a, Vec b) { return {a.low + b.low, a.high + b.high}; }
inline Vec operator-(Vec a, Vec b) { return {a.low - b.low, a.high - b.high}; }
inline Vec operator*(Vec a, Vec b) { return {a.low * b.low, a.high * b.high}; }
inline Vec operator/(Vec a, Vec b) { return {a.low / b.low, a.high / b.high}; }

inline Vec all(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
inline Vec zero() { return all(0.0f); }
inline Vec fma(Vec a, Vec b, Vec c) {
  return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
}

inline Vec load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
inline uint16x8_t load_16bit(const void* p) { return vld1q_u16(static_cast<const uint16_t*>(p)); }
inline uint16x8_t load_16bit_some(const void* p, size_t n) {
  uint16_t copy[lanes] = {};
  __builtin_memcpy(copy, p, n * 2);
  return load_16bit(copy);
}
inline Vec widen(uint16x8_t brain) {
  return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(brain), 16)),
          vreinterpretq_f32_u32(vshll_high_n_u16(brain, 16))};
}
inline Vec widen_half(uint16x8_t half) {
  const float16x8_t x = vreinterpretq_f16_u16(half);
  return {vcvt_f32_f16(vget_low_f16(x)), vcvt_high_f32_f16(x)};
}
inline Vec load(const Brain* p) { return widen(load_16bit(p)); }
inline Vec load(const Half* p) { return widen_half(load_16bit(p)); }
// The first n < lanes elements, then zeros; nothing beyond them is touched.
inline Vec load_some(const float* p, size_t n) {
  float copy[lanes] = {};
  __builtin_memcpy(copy, p, n * sizeof(float));
  return load(copy);
}
inline Vec load_some(const Brain* p, size_t n) { return widen(load_16bit_some(p, n)); }
inline Vec load_some(const Half* p, size_t n) { return widen_half(load_16bit_some(p, n)); }
inline void store(float* p, Vec x) { vst1q_f32(p, x.low), vst1q_f32(p + 4, x.high); }
inline void store_some(float* p, size_t n, Vec x) {
  float copy[lanes];
  store(copy, x);
  __builtin_memcpy(p, copy, n * sizeof(float));
}
// Rounded to nearest even; a NaN stays one.
inline uint16x8_t narrowed(Vec x, const Half*) {
  return vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.low), x.high));
}
inline uint16x4_t brains(float32x4_t x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t up = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
  return vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), up, quiet), 16);
}
inline uint16x8_t narrowed(Vec x, const Brain*) {
  return vcombine_u16(brains(x.low), brains(x.high));
}
template <class T>
inline void store(T* p, Vec x) {
  vst1q_u16(reinterpret_cast<uint16_t*>(p), narrowed(x, p));
}
template <class T>
inline void store_some(T* p, size_t n, Vec x) {
  uint16_t copy[lanes];
  vst1q_u16(copy, narrowed(x, p));
  __builtin_memcpy(p, copy, n * 2);
}
// Loaded once for several uses.
inline Vec in_register(Vec x) {
  asm("" : "+w"(x.low), "+w"(x.high));
  return x;
}

using Brains = Vec;  // products of brain floats are another extension
constexpr bool has_pairs = false;

// Whole numbers, 8 of them or 32 bytes. A tile: 4 x 2 int32 sums and two weights, two registers
// each, and one x; the f32 sums are used once a unit and may wait in memory.
struct Ints {
  int32x4_t low, high;
};
constexpr size_t tile_rows = 4;
inline Ints operator&(Ints a, Ints b) { return {a.low & b.low, a.high & b.high}; }
inline Ints operator|(Ints a, Ints b) { return {a.low | b.low, a.high | b.high}; }
inline Ints& operator|=(Ints& a, Ints b) { return a = a | b; }
// Of 32 bits at a time: who calls masks what comes over from the neighbour.
inline Ints operator<<(Ints a, int n) { return {a.low << n, a.high << n}; }
inline Ints operator>>(Ints a, long long n) { return {a.low >> int(n), a.high >> int(n)}; }
inline Ints all(int32_t x) { return {vdupq_n_s32(x), vdupq_n_s32(x)}; }
inline Ints all_four(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  return all(four);
}
inline Ints load_ints(const uint8_t* p) {
  return {vreinterpretq_s32_u8(vld1q_u8(p)), vreinterpretq_s32_u8(vld1q_u8(p + 16))};
}
inline Vec to_floats(Ints x) { return {vcvtq_f32_s32(x.low), vcvtq_f32_s32(x.high)}; }
inline Vec from_bytes(const uint8_t* p) {
  const uint16x8_t x = vmovl_u8(vld1_u8(p));
  return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(x))), vcvtq_f32_u32(vmovl_high_u16(x))};
}
inline Vec from_signed_bytes(const uint8_t* p) {
  const int16x8_t x = vmovl_s8(vreinterpret_s8_u8(vld1_u8(p)));
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(x))), vcvtq_f32_s32(vmovl_high_s16(x))};
}
inline Ints to_ints(Vec x) {  // nearest, ties to even
  return {vcvtnq_s32_f32(x.low), vcvtnq_s32_f32(x.high)};
}
inline void store_ints(void* p, Ints x) {
  vst1q_s32(static_cast<int32_t*>(p), x.low), vst1q_s32(static_cast<int32_t*>(p) + 4, x.high);
}
inline Ints add(Ints a, Ints b) { return {a.low + b.low, a.high + b.high}; }
inline int32_t sum(Ints x) { return vaddvq_s32(x.low + x.high); }
// The low byte of each.
inline void store_low_bytes(int8_t* p, Ints x) {
  vst1_s8(p, vmovn_s16(vmovn_high_s32(vmovn_s32(x.low), x.high)));
}
inline bool any_nan(Vec x) {
  return vminvq_u32(vandq_u32(vceqq_f32(x.low, x.low), vceqq_f32(x.high, x.high))) == 0;
}
// Each lane of sum plus its four products of two bytes with signs.
inline int32x4_t dot(int32x4_t sum, int32x4_t w, int32x4_t x) {
  const int8x16_t a = vreinterpretq_s8_s32(w), b = vreinterpretq_s8_s32(x);
#ifdef __ARM_FEATURE_DOTPROD
  return vdotq_s32(sum, a, b);
#else
  const int16x8_t first = vmull_s8(vget_low_s8(a), vget_low_s8(b)), rest = vmull_high_s8(a, b);
  return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(first), vpaddlq_s16(rest)));
#endif
}
// Of numbers of 7 bits and fewer, which are the same with a sign.
inline Ints add_fours(Ints sum, Ints w, Ints x) {
  return {dot(sum.low, w.low, x.low), dot(sum.high, w.high, x.high)};
}
// Of w - 128, where w is a byte from 0 up.
constexpr bool signed_eights = true;
inline Ints add_signed_fours(Ints sum, Ints w, Ints x) {
  const int32x4_t middle = vdupq_n_s32(int32_t(0x80808080));
  return add_fours(sum, {w.low ^ middle, w.high ^ middle}, x);
}
constexpr bool sums_in_16 = false;
inline Ints pairs(Ints w, Ints x) { return add_fours(all(0), w, x); }  // unused, as the next two
inline Ints add_pairs(Ints narrow, Ints w, Ints x) { return add_fours(narrow, w, x); }
inline Ints add_narrow(Ints sum, Ints narrow) { return add(sum, narrow); }

// A NaN in b passes, and only that one: Arm's own maximum would keep one in a.
inline float32x4_t greatest(float32x4_t a, float32x4_t b) {
  return vbslq_f32(vcgtq_f32(a, b), a, b);
}
inline float32x4_t least(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline Vec greatest(Vec a, Vec b) { return {greatest(a.low, b.low), greatest(a.high, b.high)}; }
inline Vec least(Vec a, Vec b) { return {least(a.low, b.low), least(a.high, b.high)}; }
inline Vec magnitude(Vec x) { return {vabsq_f32(x.low), vabsq_f32(x.high)}; }
// a with the sign of b; a must not be negative.
inline Vec with_sign(Vec a, Vec b) {
  const uint32x4_t sign = vdupq_n_u32(0x80000000);
  return {vbslq_f32(sign, b.low, a.low), vbslq_f32(sign, b.high, a.high)};
}
inline Vec if_less(Vec x, Vec limit, Vec yes, Vec no) {
  return {vbslq_f32(vcltq_f32(x.low, limit.low), yes.low, no.low),
          vbslq_f32(vcltq_f32(x.high, limit.high), yes.high, no.high)};
}
inline Vec nearest(Vec x) { return {vrndnq_f32(x.low), vrndnq_f32(x.high)}; }
// In two steps, so that neither factor leaves the exponent's range; |n| < 250.
inline float32x4_t times_power_of_two(float32x4_t x, float32x4_t n) {
  const int32x4_t whole = vcvtnq_s32_f32(n), half = whole >> 1;
  const auto power = [](int32x4_t e) {
    return vreinterpretq_f32_s32(vaddq_s32(e, vdupq_n_s32(127)) << 23);
  };
  return x * power(half) * power(whole - half);
}
inline Vec times_power_of_two(Vec x, Vec n) {
  return {times_power_of_two(x.low, n.low), times_power_of_two(x.high, n.high)};
}

// The sums of four vectors, each by halving: l + (l + 4), then + 2, + 1.
inline float32x2_t halved(Vec x) {
  const float32x4_t half = x.low + x.high;
  return vget_low_f32(half) + vget_high_f32(half);
}
inline void sums(const Vec (&a)[4], float (&out)[4]) {
  const float32x4_t first = vcombine_f32(halved(a[0]), halved(a[1])),
                    rest = vcombine_f32(halved(a[2]), halved(a[3]));
  vst1q_f32(out, vpaddq_f32(first, rest));
}
inline float sum(Vec x) {
  const float32x2_t half = halved(x);
  return half[0] + half[1];
}
inline float largest(Vec x) {
  const float32x4_t half = greatest(x.low, x.high);
  const float a = half[0] > half[2] ? half[0] : half[2], b = half[1] > half[3] ? half[1] : half[3];
  return a > b ? a : b;
}

}  // namespace
}  // namespace revenant
