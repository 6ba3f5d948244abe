#include "kernels/panels.h"

#include <cstring>

#include "base/dtype.h"
#include "base/error.h"
#include "quant/blocks.h"

namespace revenant {
namespace {

const uint8_t* bytes_of(const std::byte* p) { return reinterpret_cast<const uint8_t*>(p); }

float half_at(const std::byte* p, size_t i) {
  uint16_t bits;
  std::memcpy(&bits, p + 2 * i, 2);
  return to_float_f16(bits);
}

void put_half(std::byte* p, size_t i, uint16_t bits) { std::memcpy(p + 2 * i, &bits, 2); }

// Where q of (output, k in unit) stands: byte and shift of its low bits, and of its high bits.
struct Place {
  size_t low, high;
  int low_shift, high_shift;
};
Place place_of(int bits, size_t output, size_t k) {
  const size_t g = k / 4, at = 4 * output + k % 4;
  if (bits == 8) return {g * 64 + at, 0, 0, 0};
  const Place four = {g / 2 * 64 + at, 0, int(g % 2 * 4), 0};
  if (bits == 5) return {four.low, 256 + at, four.low_shift, int(g)};
  if (bits == 6) return {four.low, 256 + g / 4 * 64 + at, four.low_shift, int(g % 4 * 2)};
  return four;
}

// The 32 numbers of an output's unit to the places that place_of names, four at a time: as bytes of
// a word they keep apart, since no masked bit crosses into the next byte.
void put_unit(const uint8_t* q, int bits, size_t output, uint8_t* unit) {
  uint32_t group[unit_groups];
  std::memcpy(group, q, sizeof group);
  const auto put = [&](size_t i, uint32_t word) {
    std::memcpy(unit + i * group_bytes + 4 * output, &word, sizeof word);
  };
  if (bits == 8) {
    for (size_t g = 0; g < unit_groups; ++g) put(g, group[g]);
    return;
  }
  constexpr uint32_t low = 0x0f0f0f0f;
  for (size_t v = 0; v < 4; ++v) put(v, (group[2 * v] & low) | (group[2 * v + 1] & low) << 4);
  const int planes = bits - 4;
  const uint32_t mask = planes == 1 ? 0x01010101 : 0x03030303;
  for (size_t first = 0; planes > 0 && first < unit_groups; first += size_t(8 / planes)) {
    uint32_t high = 0;
    for (size_t g = 0; g < size_t(8 / planes); ++g)
      high |= (group[first + g] >> 4 & mask) << g * size_t(planes);
    put(4 + first * size_t(planes) / 8, high);
  }
}

int q_at(const uint8_t* unit, int bits, size_t output, size_t k) {
  const Place p = place_of(bits, output, k);
  if (bits == 8) return unit[p.low];
  const int low = unit[p.low] >> p.low_shift & 15;
  if (bits == 4) return low;
  return low | (unit[p.high] >> p.high_shift & (bits == 5 ? 1 : 3)) << 4;
}

// What stands behind the units: where a block's scales begin.
std::byte* scales_at(std::byte* panel, const PanelSizes& s, size_t k, size_t block) {
  return panel + k / unit_k * s.unit + block * s.scales;
}

template <class Block>
void put_scales(const Block& b, size_t o, std::byte* at) {
  put_half(at, o, b.d);
  if constexpr (requires { b.m; }) put_half(at + 32, o, b.m);
  if constexpr (requires { b.dmin; }) {
    put_half(at + 32, o, b.dmin);
    for (size_t j = 0; j < 8; ++j) {
      const KScale s = k_scale(b.scales, j);
      at[64 + 16 * j + o] = std::byte(s.scale);
      at[64 + 128 + 16 * j + o] = std::byte(s.min);
    }
  }
  if constexpr (std::is_same_v<Block, BlockQ6_K>)
    for (size_t j = 0; j < 16; ++j) at[32 + 16 * j + o] = std::byte(b.scales[j]);
}

// Numbers in a block.
template <class Block>
constexpr size_t block_size = requires(Block b) {
  b.dmin;
}
|| std::is_same_v<Block, BlockQ6_K> ? k_block : small_block;

template <class Block>
void pack_rows(Format format, const std::byte* const* rows, size_t count, size_t k,
               std::byte* panel) {
  const PanelShape shape = panel_shape(format);
  const PanelSizes sizes = panel_sizes(format, k);
  auto* units = reinterpret_cast<uint8_t*>(panel);
  for (size_t o = 0; o < count; ++o)
    for (size_t i = 0; i < k / shape.block; ++i) {
      Block b;
      std::memcpy(&b, rows[o] + i * sizeof b, sizeof b);
      put_scales(b, o, scales_at(panel, sizes, k, i));
      uint8_t q[block_size<Block>];
      for (size_t l = 0; l < block_size<Block>; ++l) q[l] = q_of(b, l);
      for (size_t l = 0; l < block_size<Block>; l += unit_k)
        put_unit(q + l, shape.bits, o, units + (i * block_size<Block> + l) / unit_k * sizes.unit);
    }
}

}  // namespace

PanelShape panel_shape(Format format) {
  CHECK(is_quantised(format));
  return panel_shapes[size_t(format) - size_t(Format::q8_0)];
}

PanelSizes panel_sizes(Format format, size_t k) {
  const PanelShape s = panel_shape(format);
  CHECK(k % s.block == 0);
  const size_t unit = s.bits == 8 ? 512 : 256 + 64 * size_t(s.bits - 4);
  const size_t each = s.mins ? 2 : 1;
  const size_t scales = 32 * each + (s.block == 256 ? 8 * s.runs * 16 * each : 0);
  return {unit, scales, (k / unit_k * unit + k / s.block * scales + 63) / 64 * 64};
}

size_t panels_bytes(Format format, size_t n, size_t k) {
  return (n + panel_outputs - 1) / panel_outputs * panel_sizes(format, k).panel;
}

void pack_panel(Format format, const std::byte* const* rows, size_t count, size_t k,
                std::byte* panel) {
  std::memset(panel, 0, panel_sizes(format, k).panel);
  const auto pack = [&]<class Block>(Block) { pack_rows<Block>(format, rows, count, k, panel); };
  if (format == Format::q8_0) pack(BlockQ8_0());
  if (format == Format::q6_k) pack(BlockQ6_K());
  if (format == Format::q5_k) pack(BlockQ5_K());
  if (format == Format::q5_1) pack(BlockQ5_1());
  if (format == Format::q5_0) pack(BlockQ5_0());
  if (format == Format::q4_k) pack(BlockQ4_K());
  if (format == Format::q4_1) pack(BlockQ4_1());
  if (format == Format::q4_0) pack(BlockQ4_0());
}

PanelNumber panel_number(Format format, const std::byte* panel, size_t k_all, size_t output,
                         size_t k) {
  const PanelShape shape = panel_shape(format);
  const PanelSizes sizes = panel_sizes(format, k_all);
  const int q = q_at(bytes_of(panel) + k / unit_k * sizes.unit, shape.bits, output, k % unit_k);
  const std::byte* at = panel + k_all / unit_k * sizes.unit + k / shape.block * sizes.scales;
  float scale = half_at(at, output), min = shape.mins ? half_at(at + 32, output) : 0;
  if (shape.block == 256) {
    const std::byte* runs = at + (shape.mins ? 64 : 32);
    const size_t run = k % 256 / (unit_k / shape.runs);
    const auto byte = uint8_t(runs[16 * run + output]);
    scale *= format == Format::q6_k ? float(int8_t(byte)) : float(byte);
    if (shape.mins) min = -(min * float(uint8_t(runs[128 + 16 * run + output])));
  }
  return {q, scale, min};
}

void unpack_panel_row(Format format, const std::byte* panels, size_t k, size_t row, float* out) {
  const std::byte* panel = panels + row / panel_outputs * panel_sizes(format, k).panel;
  const int zero = panel_shape(format).zero;
  for (size_t i = 0; i < k; ++i) {
    const PanelNumber n = panel_number(format, panel, k, row % panel_outputs, i);
    const float product = n.scale * float(n.q - zero);
    out[i] = panel_shape(format).mins ? product + n.min : product;
  }
}

}  // namespace revenant
