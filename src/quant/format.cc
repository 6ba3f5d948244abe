#include "quant/format.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/ascii.h"
#include "base/dtype.h"
#include "base/error.h"
#include "quant/blocks.h"
#include "quant/fit.h"

namespace revenant {
namespace {

// Of blocks of 32. Their reference rounding cuts off x / d + offset + 0.5, computed without
// rounding in between where there is no minimum.
uint8_t cut(double x, int most) { return uint8_t(std::clamp(int(x), 0, most)); }

float largest_signed(const float* x, size_t n) {
  float best = 0;
  for (size_t i = 0; i < n; ++i)
    if (std::fabs(x[i]) > std::fabs(best)) best = x[i];
  return best;
}

float inverse(float d) { return d != 0 ? 1 / d : 0; }

void put_nibbles(const uint8_t* q, uint8_t* out, size_t half) {
  for (size_t i = 0; i < half; ++i) out[i] = uint8_t((q[i] & 15) | (q[i + half] & 15) << 4);
}

template <class Block>
void put(Block& b, const uint8_t (&q)[32]) {
  put_nibbles(q, b.q, 16);
  if constexpr (requires { b.high; }) {
    std::memset(b.high, 0, sizeof b.high);
    for (size_t i = 0; i < 32; ++i) b.high[i / 8] = uint8_t(b.high[i / 8] | (q[i] >> 4) << i % 8);
  }
}

// x = d (q - levels / 2), levels 16 or 32.
template <class Block, int levels>
void pack(const float* x, Block& b, const float* importance) {
  const float d = importance ? fit_symmetric(x, importance, 32, levels / 2)
                             : largest_signed(x, 32) / -(levels / 2);
  const double id = inverse(d);
  uint8_t q[32];
  for (size_t i = 0; i < 32; ++i) q[i] = cut(double(x[i]) * id + levels / 2 + 0.5, levels - 1);
  b.d = to_f16(d);
  put(b, q);
}

// x = d q + m
template <class Block, int levels>
void pack_with_min(const float* x, Block& b, const float* importance) {
  const auto [low, high] = std::minmax_element(x, x + 32);
  float d = (*high - *low) / (levels - 1), m = *low;
  if (importance) {
    const ScaleAndMin fit = fit_with_min(x, importance, 32, levels - 1, false);
    d = fit.scale, m = fit.min;
  }
  const float id = inverse(d);
  uint8_t q[32];
  for (size_t i = 0; i < 32; ++i) q[i] = cut((x[i] - m) * id + 0.5f, levels - 1);
  b.d = to_f16(d), b.m = to_f16(m);
  put(b, q);
}

void pack(const float* x, BlockQ8_0& b, const float*) {
  const float d = std::fabs(largest_signed(x, 32)) / 127, id = inverse(d);
  b.d = to_f16(d);
  for (size_t i = 0; i < 32; ++i) b.q[i] = int8_t(std::round(x[i] * id));
}
void pack(const float* x, BlockQ4_0& b, const float* i) { pack<BlockQ4_0, 16>(x, b, i); }
void pack(const float* x, BlockQ5_0& b, const float* i) { pack<BlockQ5_0, 32>(x, b, i); }
void pack(const float* x, BlockQ4_1& b, const float* i) { pack_with_min<BlockQ4_1, 16>(x, b, i); }
void pack(const float* x, BlockQ5_1& b, const float* i) { pack_with_min<BlockQ5_1, 32>(x, b, i); }

// The weight of each squared error of a run: larger numbers matter more, and all the more so where
// a row's inputs are known to be large.
void weigh(const float* x, const float* importance, size_t n, float* weight) {
  float squares = 0;
  for (size_t i = 0; i < n; ++i) squares += x[i] * x[i];
  const float root = std::sqrt(squares / float(n));
  for (size_t i = 0; i < n; ++i)
    weight[i] = importance ? importance[i] * std::sqrt(squares / float(n) + x[i] * x[i])
                           : root + std::fabs(x[i]);
}

void put_scales(const uint8_t (&scale)[8], const uint8_t (&min)[8], uint8_t (&out)[12]) {
  for (size_t j = 0; j < 4; ++j) {
    out[j] = uint8_t(scale[j] | (scale[j + 4] >> 4) << 6);
    out[j + 4] = uint8_t(min[j] | (min[j + 4] >> 4) << 6);
    out[j + 8] = uint8_t((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
  }
}

uint8_t six_bits(float x) { return uint8_t(std::clamp(std::lrint(x), 0l, 63l)); }

// x = d scale q - dmin min over eight runs of 32.
template <class Block, int levels>
void pack_k(const float* x, Block& b, const float* importance) {
  float scale[8], min[8], weight[32];
  for (size_t j = 0; j < 8; ++j) {
    weigh(x + 32 * j, importance ? importance + 32 * j : nullptr, 32, weight);
    const ScaleAndMin fit = fit_with_min(x + 32 * j, weight, 32, levels - 1, true);
    scale[j] = fit.scale, min[j] = -fit.min;
  }
  const float top = *std::max_element(scale, scale + 8), deep = *std::max_element(min, min + 8);
  b.d = to_f16(top / 63), b.dmin = to_f16(deep / 63);
  const float d = to_float_f16(b.d), dmin = to_float_f16(b.dmin);
  uint8_t six_scale[8], six_min[8], q[256];
  for (size_t j = 0; j < 8; ++j) {
    six_scale[j] = six_bits(scale[j] * inverse(d)), six_min[j] = six_bits(min[j] * inverse(dmin));
    const float inv = inverse(d * six_scale[j]), m = dmin * six_min[j];
    for (size_t i = 32 * j; i < 32 * j + 32; ++i)
      q[i] = uint8_t(std::clamp(std::lrint((x[i] + m) * inv), 0l, long(levels - 1)));
  }
  put_scales(six_scale, six_min, b.scales);
  for (size_t j = 0; j < 4; ++j) put_nibbles(q + 64 * j, b.q + 32 * j, 32);
  if constexpr (requires { b.high; }) {
    std::memset(b.high, 0, sizeof b.high);
    for (size_t i = 0; i < 256; ++i)
      b.high[i % 32] = uint8_t(b.high[i % 32] | (q[i] >> 4) << i / 32);
  }
}
void pack(const float* x, BlockQ4_K& b, const float* i) { pack_k<BlockQ4_K, 16>(x, b, i); }
void pack(const float* x, BlockQ5_K& b, const float* i) { pack_k<BlockQ5_K, 32>(x, b, i); }

void pack(const float* x, BlockQ6_K& b, const float* importance) {
  float scale[16], weight[16];
  for (size_t j = 0; j < 16; ++j) {
    weigh(x + 16 * j, importance ? importance + 16 * j : nullptr, 16, weight);
    scale[j] = fit_symmetric(x + 16 * j, weight, 16, 32);
  }
  std::memset(&b, 0, sizeof b);
  b.d = to_f16(largest_signed(scale, 16) / -128);
  const float d = to_float_f16(b.d);
  for (size_t i = 0; i < 256; ++i) {
    int8_t& s = b.scales[i / 16];
    if (i % 16 == 0) s = int8_t(std::clamp(std::lrint(scale[i / 16] * inverse(d)), -128l, 127l));
    const long q = std::clamp(std::lrint(x[i] * inverse(d * s)), -32l, 31l) + 32;
    const size_t half = i / 128, quarter = i % 128 / 32, at = i % 32;
    uint8_t& low = b.low[half * 64 + quarter % 2 * 32 + at];
    low = uint8_t(low | (q & 15) << quarter / 2 * 4);
    b.high[half * 32 + at] = uint8_t(b.high[half * 32 + at] | (q >> 4) << 2 * quarter);
  }
}

// Each product and sum is rounded to f32, as everybody's reference does.
void unpack(const BlockQ8_0& b, float* out) {
  for (size_t i = 0; i < 32; ++i) out[i] = to_float_f16(b.d) * float(b.q[i]);
}
template <class Block>
void unpack_centred(const Block& b, int centre, float* out) {
  for (size_t i = 0; i < 32; ++i) out[i] = to_float_f16(b.d) * float(int(q_of(b, i)) - centre);
}
void unpack(const BlockQ4_0& b, float* out) { unpack_centred(b, 8, out); }
void unpack(const BlockQ5_0& b, float* out) { unpack_centred(b, 16, out); }
template <class Block>
requires requires(Block b) { b.m; }
void unpack(const Block& b, float* out) {
  for (size_t i = 0; i < 32; ++i)
    out[i] = to_float_f16(b.d) * float(q_of(b, i)) + to_float_f16(b.m);
}
template <class Block>
requires requires(Block b) { b.dmin; }
void unpack(const Block& b, float* out) {
  const float d = to_float_f16(b.d), dmin = to_float_f16(b.dmin);
  for (size_t i = 0; i < 256; ++i) {
    const KScale s = k_scale(b.scales, i / 32);
    out[i] = d * float(s.scale) * float(q_of(b, i)) - dmin * float(s.min);
  }
}
void unpack(const BlockQ6_K& b, float* out) {
  for (size_t i = 0; i < 256; ++i)
    out[i] = to_float_f16(b.d) * float(b.scales[i / 16]) * float(int(q_of(b, i)) - 32);
}

struct Plain32 {};
struct Plain16 {};
struct PlainBrain {};

// Calls f with a value of the block's type.
template <class F>
auto with_block(Format format, F f) {
  switch (format) {
    case Format::f32:
      return f(Plain32());
    case Format::f16:
      return f(Plain16());
    case Format::bf16:
      return f(PlainBrain());
    case Format::q8_0:
      return f(BlockQ8_0());
    case Format::q6_k:
      return f(BlockQ6_K());
    case Format::q5_k:
      return f(BlockQ5_K());
    case Format::q5_1:
      return f(BlockQ5_1());
    case Format::q5_0:
      return f(BlockQ5_0());
    case Format::q4_k:
      return f(BlockQ4_K());
    case Format::q4_1:
      return f(BlockQ4_1());
    case Format::q4_0:
      return f(BlockQ4_0());
  }
  CHECK(false);
}

constexpr FormatInfo table[] = {
    {Format::f32, "F32", 0, 1, 4, 0},
    {Format::f16, "F16", 1, 1, 2, 0x1p-11},  // from 2^-14 to 65504
    {Format::bf16, "BF16", 30, 1, 2, 0x1p-8},
    {Format::q8_0, "Q8_0", 8, 32, sizeof(BlockQ8_0), 0.0045},
    {Format::q6_k, "Q6_K", 14, 256, sizeof(BlockQ6_K), 0.02},
    {Format::q5_k, "Q5_K", 13, 256, sizeof(BlockQ5_K), 0.04},
    {Format::q5_1, "Q5_1", 7, 32, sizeof(BlockQ5_1), 0.034},
    {Format::q5_0, "Q5_0", 6, 32, sizeof(BlockQ5_0), 0.064},
    {Format::q4_k, "Q4_K", 12, 256, sizeof(BlockQ4_K), 0.08},
    {Format::q4_1, "Q4_1", 3, 32, sizeof(BlockQ4_1), 0.069},
    {Format::q4_0, "Q4_0", 2, 32, sizeof(BlockQ4_0), 0.126},
};

}  // namespace

std::span<const FormatInfo> formats() { return table; }
const FormatInfo& info(Format format) { return table[size_t(format)]; }

std::optional<Format> format_of(DType type) {
  switch (type) {
    case DType::f32:
      return Format::f32;
    case DType::f16:
      return Format::f16;
    case DType::bf16:
      return Format::bf16;
    default:
      return {};
  }
}

std::optional<Format> format_named(std::string_view name) {
  for (const FormatInfo& f : table)
    if (lower_ascii(f.name) == lower_ascii(name)) return f.format;
  return {};
}

Format format_for(Format wanted, size_t columns) {
  if (columns % info(wanted).block == 0) return wanted;
  if (columns % small_block != 0) return Format::f16;
  return wanted == Format::q4_k   ? Format::q5_0
         : wanted == Format::q5_k ? Format::q5_1
                                  : Format::q8_0;
}

size_t row_bytes(Format format, size_t n) {
  CHECK(n % info(format).block == 0);
  return n / info(format).block * info(format).bytes;
}

std::optional<Unfit> unfit(Format format, std::span<const float> x) {
  constexpr float largest_f16 = 65504;
  const bool has_f16 = format == Format::f16 || is_quantised(format);
  for (const float number : x)
    if (!std::isfinite(number) || (has_f16 && std::abs(number) > largest_f16))
      return Unfit{number, std::isfinite(number) ? "numbers up to 65504" : "finite numbers"};
  return {};
}

void pack_row(Format format, std::span<const float> x, std::byte* out, const float* importance) {
  CHECK(x.size() % info(format).block == 0);
  auto* half = reinterpret_cast<uint16_t*>(out);
  with_block(format, [&]<class Block>(Block) {
    if constexpr (std::is_same_v<Block, Plain32>) {
      std::memcpy(out, x.data(), x.size_bytes());
    } else if constexpr (std::is_same_v<Block, Plain16>) {
      std::transform(x.begin(), x.end(), half, to_f16);
    } else if constexpr (std::is_same_v<Block, PlainBrain>) {
      std::transform(x.begin(), x.end(), half, to_bf16);
    } else {
      const size_t n = info(format).block;
      for (size_t i = 0; i < x.size(); i += n, out += sizeof(Block)) {
        Block b;
        pack(x.data() + i, b, importance ? importance + i : nullptr);
        std::memcpy(out, &b, sizeof b);
      }
    }
  });
}

void pack_channel(std::span<const float> x, std::byte* out) {
  float most = 0;
  for (const float value : x) most = std::max(most, std::fabs(value));
  BlockQ8_0 b;
  b.d = to_f16(most / 127);
  const float id = inverse(to_float_f16(b.d));
  for (size_t begin = 0; begin < x.size(); begin += 32, out += sizeof b) {
    for (size_t i = 0; i < 32; ++i)
      b.q[i] = int8_t(std::clamp(std::round(x[begin + i] * id), -127.0f, 127.0f));
    std::memcpy(out, &b, sizeof b);
  }
}

void unpack_row(Format format, const std::byte* row, std::span<float> out) {
  CHECK(out.size() % info(format).block == 0);
  const auto* half = reinterpret_cast<const uint16_t*>(row);
  with_block(format, [&]<class Block>(Block) {
    if constexpr (std::is_same_v<Block, Plain32>) {
      std::memcpy(out.data(), row, out.size_bytes());
    } else if constexpr (std::is_same_v<Block, Plain16>) {
      std::transform(half, half + out.size(), out.begin(), to_float_f16);
    } else if constexpr (std::is_same_v<Block, PlainBrain>) {
      std::transform(half, half + out.size(), out.begin(), to_float_bf16);
    } else {
      for (size_t i = 0; i < out.size(); i += info(format).block, row += sizeof(Block)) {
        Block b;
        std::memcpy(&b, row, sizeof b);
        unpack(b, out.data() + i);
      }
    }
  });
}

}  // namespace revenant
