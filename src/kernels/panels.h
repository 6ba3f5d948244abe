// How quantised weights lie for the int8 products: the same bytes for every instruction set.
//
// A panel is 16 outputs. Its numbers stand in units of 32 along K; a unit is eight groups of 64
// bytes, and byte 4 o + i of group g belongs to output o and k = 4 g + i. So a vector of any width
// holds whole outputs, four k each, which is what the int8 dot instructions sum, and no lane ever
// has to be added to another one.
//
//   8 bits    512 bytes a unit: the groups, each number plus 128
//   4 bits    256 bytes: byte i of the v-th 64 has group 2v in its low half and 2v + 1 in its high
//   5 bits    and 64 bytes more: bit g of byte i is the fifth of group g's byte i
//   6 bits    and 128 more: the upper two of group g in bits 2 (g % 4) of the (g / 4)-th 64
//
// All units of a panel come first, then for each block of the format its scales: 16 f16 scales, 16
// f16 minima where the format has them; for blocks of 256 also a byte for each run and output:
// scales, then minima. Panels begin at multiples of 64 bytes. Outputs past the last have scale 0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/format.h"

namespace revenant {

// This layout, as files name it. Another order of the same bytes is another layout.
constexpr const char* panels_layout = "panels-1";

constexpr size_t panel_outputs = 16, unit_k = 32, unit_groups = 8, group_bytes = 64;

struct PanelShape {
  size_t block;    // numbers along K that share d: 32 or 256
  int bits, zero;  // x = scale (q - zero), or scale q - min
  size_t runs;     // of a unit: numbers that share a scale are unit_k / runs
  bool mins;
};

// From q8_0 on, in the order of Format.
constexpr PanelShape panel_shapes[] = {
    {32, 8, 128, 1, false},  // q8_0
    {256, 6, 32, 2, false},  // q6_k
    {256, 5, 0, 1, true},    // q5_k
    {32, 5, 0, 1, true},     // q5_1
    {32, 5, 16, 1, false},   // q5_0
    {256, 4, 0, 1, true},    // q4_k
    {32, 4, 0, 1, true},     // q4_1
    {32, 4, 8, 1, false},    // q4_0
};

struct PanelSizes {
  size_t unit, scales, panel;  // bytes of a unit, of a block's scales, of a panel
};
PanelShape panel_shape(Format format);
PanelSizes panel_sizes(Format format, size_t k);
// Of n outputs.
size_t panels_bytes(Format format, size_t n, size_t k);

// Up to 16 rows of GGUF blocks become a panel.
void pack_panel(Format format, const std::byte* const* rows, size_t count, size_t k,
                std::byte* panel);
// One output's numbers, as quant's unpack_row gives them.
void unpack_panel_row(Format format, const std::byte* panels, size_t k, size_t row, float* out);

// A number as the layout has it, its run's scale and minimum (the latter as it is added).
struct PanelNumber {
  int q;
  float scale, min;
};
PanelNumber panel_number(Format format, const std::byte* panel, size_t k_all, size_t output,
                         size_t k);

// A row of inputs for the int8 products, 32 numbers at a time: x ~ scale q.
// Numbers up to the least input are 0.
constexpr float least_int8_input = 1e-30f;
struct Int8Block {
  float scale, total;  // total = scale times the sum of q
  int32_t sums[2];     // of q, each half
  int8_t q[unit_k];
};

// A row of one scale: its numbers, zeros up to a multiple of 64, and 64 bytes that begin with this.
struct Int8RowEnd {
  float scale;
  int32_t sum;  // of q
};
static constexpr size_t int8_row_numbers(size_t k) { return (k + 63) / 64 * 64; }
static constexpr size_t int8_row_bytes(size_t k) { return int8_row_numbers(k) + 64; }

}  // namespace revenant
