// NF4 with double quantisation (QLoRA, Dettmers et al. 2023; bitsandbytes' layout): 4-bit indices
// into a table of normal quantiles, one scale a block of 64, and the scales themselves in 8 bits.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace revenant {

constexpr int64_t nf4_block = 64, nf4_scale_block = 256;

extern const std::array<float, 16> nf4_code;
const std::array<float, 256>& nf4_scale_code();  // bitsandbytes' signed dynamic map

// The flattened weight; the last block may be short.
struct Nf4 {
  int64_t count = 0;            // elements
  std::vector<uint8_t> packed;  // two elements a byte, the first in the high half
  std::vector<float> absmax;    // of a block
};

// The block scales, quantised: absmax[i] ~ scale_code[values[i]] * absmax2[i / 256] + offset
struct Nf4Scales {
  std::vector<uint8_t> values;
  std::vector<float> absmax2;
  float offset = 0;  // mean of all absmax
};

struct DoubleNf4 {
  int64_t count = 0;
  std::vector<uint8_t> packed;
  Nf4Scales scales;
};

Nf4 quantize_nf4(std::span<const float> weight);  // throws Error unless all values are finite
std::vector<float> dequantize_nf4(const Nf4& weight);

Nf4Scales quantize_nf4_scales(std::span<const float> absmax);
std::vector<float> dequantize_nf4_scales(const Nf4Scales& scales);

DoubleNf4 quantize_nf4_double(std::span<const float> weight);
std::vector<float> dequantize_nf4(const DoubleNf4& weight);

}  // namespace revenant
