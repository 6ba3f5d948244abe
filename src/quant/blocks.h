// How GGUF lays out the blocks of each format; two 4-bit numbers a byte, q[i] in its low half and
// q[i + half the run] in its high half. All scales are f16.
#pragma once

#include <cstddef>
#include <cstdint>

namespace revenant {

constexpr size_t small_block = 32, k_block = 256;

struct BlockQ8_0 {  // x = d q
  uint16_t d;
  int8_t q[32];
};
struct BlockQ4_0 {  // x = d (q - 8)
  uint16_t d;
  uint8_t q[16];
};
struct BlockQ4_1 {  // x = d q + m
  uint16_t d, m;
  uint8_t q[16];
};
struct BlockQ5_0 {  // x = d (q - 16); bit i of `high` is the fifth of q[i]
  uint16_t d;
  uint8_t high[4], q[16];
};
struct BlockQ5_1 {  // x = d q + m
  uint16_t d, m;
  uint8_t high[4], q[16];
};
// Eight runs of 32: x = d scale q - dmin min, scale and min of six bits (k_scale unpacks them).
struct BlockQ4_K {
  uint16_t d, dmin;
  uint8_t scales[12], q[128];
};
struct BlockQ5_K {  // bit r of high[i] is the fifth of run r's q[i]
  uint16_t d, dmin;
  uint8_t scales[12], high[32], q[128];
};
// Sixteen runs of 16: x = d scale (q - 32). Each half of the block has 64 bytes of low and 32 bytes
// of high bits: number i of its quarter t is in low[i + 32 (t % 2)], half t / 2, and in bits 2t of
// high[i].
struct BlockQ6_K {
  uint8_t low[128], high[64];
  int8_t scales[16];
  uint16_t d;
};

struct KScale {
  uint8_t scale, min;
};
// Of run j of a K block. The first four runs have six bits in place, the others' upper two bits
// fill what those leave.
inline KScale k_scale(const uint8_t (&s)[12], size_t j) {
  if (j < 4) return {uint8_t(s[j] & 63), uint8_t(s[j + 4] & 63)};
  return {uint8_t((s[j + 4] & 15) | (s[j - 4] >> 6 << 4)),
          uint8_t((s[j + 4] >> 4) | (s[j] >> 6 << 4))};
}

// The whole numbers q of a block in their order, each as it stands (nothing taken off).
inline uint8_t low_or_high(const uint8_t* q, size_t i, size_t half) {
  return i < half ? q[i] & 15 : q[i - half] >> 4;
}
inline uint8_t q_of(const BlockQ8_0& b, size_t i) { return uint8_t(b.q[i] + 128); }
inline uint8_t q_of(const BlockQ4_0& b, size_t i) { return low_or_high(b.q, i, 16); }
inline uint8_t q_of(const BlockQ4_1& b, size_t i) { return low_or_high(b.q, i, 16); }
template <class Block>
inline uint8_t q_of_five(const Block& b, size_t i) {
  return uint8_t(low_or_high(b.q, i, 16) | (b.high[i / 8] >> i % 8 & 1) << 4);
}
inline uint8_t q_of(const BlockQ5_0& b, size_t i) { return q_of_five(b, i); }
inline uint8_t q_of(const BlockQ5_1& b, size_t i) { return q_of_five(b, i); }
inline uint8_t q_of(const BlockQ4_K& b, size_t i) {
  return low_or_high(b.q + i / 64 * 32, i % 64, 32);
}
inline uint8_t q_of(const BlockQ5_K& b, size_t i) {
  const int fifth = b.high[i % 32] >> (i / 32) & 1;
  return uint8_t(low_or_high(b.q + i / 64 * 32, i % 64, 32) | fifth << 4);
}
inline uint8_t q_of(const BlockQ6_K& b, size_t i) {
  const size_t half = i / 128, quarter = i % 128 / 32, at = i % 32;
  const uint8_t low = b.low[half * 64 + quarter % 2 * 32 + at] >> quarter / 2 * 4 & 15;
  return uint8_t(low | (b.high[half * 32 + at] >> 2 * quarter & 3) << 4);
}

}  // namespace revenant
