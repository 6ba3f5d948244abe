// The formats that weights are stored in, one table: how many numbers share a block, how many bytes
// a block takes, and how a row goes in and out. Blocks lie as in GGUF files, so a row of ours is a
// row of anybody's; the kernels' own order of them is kernels/panels.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/dtype.h"

namespace revenant {

enum class Format : uint8_t { f32, f16, bf16, q8_0, q6_k, q5_k, q5_1, q5_0, q4_k, q4_1, q4_0 };

struct FormatInfo {
  Format format;
  const char* name;     // as llama.cpp writes it
  uint32_t ggml_type;   // its number in GGUF files
  size_t block, bytes;  // numbers that share scales, and what they take together
  // Largest |x - unpacked(packed(x))|, as a share of the largest |x| of the block.
  double error;
};

std::span<const FormatInfo> formats();
const FormatInfo& info(Format format);
std::optional<Format> format_of(DType type);                // nothing: no weights are of that type
std::optional<Format> format_named(std::string_view name);  // in any case: "q4_k", "Q4_K"

// Whether the numbers are small whole ones times a scale, which int8 products read.
inline bool is_quantised(Format format) { return format >= Format::q8_0; }
// What llama.cpp takes for rows of `columns` numbers, which must be whole blocks: for a K-quant the
// next larger format of 32; F16 where not even that fits.
Format format_for(Format wanted, size_t columns);

// Bytes of a row of n numbers; n must be whole blocks.
size_t row_bytes(Format format, size_t n);
// What a format cannot hold would become another number without a word: no number, or more than its
// 16-bit scales reach.
struct Unfit {
  float number;
  const char* expected;
};
std::optional<Unfit> unfit(Format format, std::span<const float> x);

// Nearest numbers for f16 and bf16; the reference rounding for blocks of 32 (bit-equal to PyPI's
// gguf); for K-quants, and with `importance` ([n], positive; Q8_0 has no use for it), the scales
// that make the weighted squared error smallest among some twenty tried.
void pack_row(Format format, std::span<const float> x, std::byte* out,
              const float* importance = nullptr);
void unpack_row(Format format, const std::byte* row, std::span<float> out);
// Q8_0 whose blocks all have the row's scale, its largest magnitude / 127: per channel.
void pack_channel(std::span<const float> x, std::byte* out);

}  // namespace revenant
