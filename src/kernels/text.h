// The loops in vectors, written once over the Vec that the including file chose; one include an
// instruction set. The including file is compiled with that set's flags, so nothing here may be
// an inline function with external linkage (the linker might keep this file's copy for machines
// without the set): no standard library, everything in unnamed namespaces.
#pragma once

#include <type_traits>

#include "kernels/text_attend.h"
#include "kernels/text_cache.h"
#include "kernels/text_channels.h"
#include "kernels/text_linear.h"
#include "kernels/text_panels.h"
#include "kernels/text_rows.h"
#ifdef __AMX_BF16__
#include "kernels/text_tiles.h"
#endif

namespace revenant {
namespace {

using BrainInput = std::conditional_t<has_pairs, Brain, float>;

void prepare(Input input, const float* x, size_t rows, size_t k, void* out) noexcept {
  const auto rounded = [](Vec v) { return widen(narrowed(v, static_cast<const Brain*>(nullptr))); };
  if (input == Input::int8) {
    auto* block = static_cast<Int8Block*>(out);
    for (size_t i = 0; i < rows * k; i += unit_k) quantise_32(x + i, *block++);
  } else if (input == Input::int8_rows) {
    for (size_t r = 0; r < rows; ++r)
      quantise_row(x + r * k, k, static_cast<int8_t*>(out) + r * int8_row_bytes(k));
  } else if (has_pairs) {
    narrow_to(x, rows * k, static_cast<Brain*>(out));
  } else {
    map(x, rows * k, static_cast<float*>(out), rounded);
  }
}

void product(const WeightView& w, const void* x, size_t rows, const float* bias, float* out,
             size_t out_stride) noexcept {
  if (w.format == Format::f32) return linear_as<float, float>(w, x, rows, bias, out, out_stride);
  if (w.format == Format::f16) return linear_as<float, Half>(w, x, rows, bias, out, out_stride);
#ifdef __AMX_BF16__
  if (w.format == Format::bf16 && w.brain_inputs)
    return linear_in_tiles(w, x, rows, bias, out, out_stride);
#endif
  if (w.format == Format::bf16 && w.brain_inputs)
    return linear_as<BrainInput, Brain>(w, x, rows, bias, out, out_stride);
  if (w.format == Format::bf16) return linear_as<float, Brain>(w, x, rows, bias, out, out_stride);
  if (rows == 0 || w.n == 0) return;
  if (!w.per_channel) return product_of_panels(w, x, rows, bias, out, out_stride);
  const ChannelsProduct channels = channels_product(w, x, rows, bias, out, out_stride);
#ifdef __AMX_INT8__
  if (rows >= block_side) return channels_in_tiles(channels);
#endif
  product_of_channels(channels);
}

constexpr Kernels table_named(const char* isa) {
  return {isa,          has_pairs ? 2 : 4,
          prepare,      product,
          rms_norm,     layer_norm,
          gelu,         quick_gelu,
          silu,         tanh,
          sigmoid,      swiglu,
          exponentials, rope,
          attend,       attend_chunk,
          attend_join,  remember,
          attend_heads};
}

}  // namespace
}  // namespace revenant
