// Element types of stored tensors, and the 16-bit float conversions.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>

namespace revenant {

enum class DType { f32, f16, bf16, f64, i64, i32, i16, i8, u8, boolean };

inline size_t size_of(DType type) {
  switch (type) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
      return 2;
    default:
      return 1;
  }
}

inline float to_float_bf16(uint16_t x) { return std::bit_cast<float>(uint32_t(x) << 16); }

// Rounds to nearest, ties to even; NaN stays NaN.
inline uint16_t to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40);
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

float to_float_f16(uint16_t x);
uint16_t to_f16(float x);  // nearest, ties to even; overflow becomes infinity

}  // namespace revenant
