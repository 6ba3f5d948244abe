// Rows of the cache: their numbers in each format, and how one is entered into a block (kernels.h).
#pragma once

#include "kernels/text_panels.h"
#include "kernels/text_rows.h"

namespace revenant {
namespace {

static_assert(scale_run == unit_k);

// Calls f with a null pointer to the type's numbers.
template <class F>
inline void with_numbers(Format type, F f) {
  if (type == Format::f32) f(static_cast<const float*>(nullptr));
  if (type == Format::f16) f(static_cast<const Half*>(nullptr));
  if (type == Format::bf16) f(static_cast<const Brain*>(nullptr));
  if (type == Format::q8_0) f(static_cast<const int8_t*>(nullptr));
}
inline Vec load(const int8_t* p) { return from_signed_bytes(reinterpret_cast<const uint8_t*>(p)); }
template <class T>
constexpr bool scaled = sizeof(T) == 1;
// [64], of the run that numbers i of the block's rows are in.
inline size_t scales_at(size_t d, size_t i) { return key_block * (d + i / scale_run * 2); }
inline const Half* scales(const int8_t* block, size_t d, size_t i) {
  return reinterpret_cast<const Half*>(block + scales_at(d, i));
}

template <class T>
inline float remember_as(const float* x, size_t d, BlockOf of, size_t at, T* block) {
  if (of == BlockOf::values) return narrow_to(x, d, block + at * d);
  T row[most_head_dim];
  const float top = narrow_to(x, d, row);
  for (size_t i = 0; i < d; ++i) block[i * key_block + at] = row[i];
  return top;
}

inline float remember_scaled(const float* x, size_t d, BlockOf of, size_t at, int8_t* block) {
  Vec top = zero();
  for (size_t i = 0; i < d; i += scale_run) {
    for (size_t l = 0; l < scale_run; l += lanes) top = greatest(top, magnitude(load(x + i + l)));
    Int8Block run;
    quantise_32(x + i, run);
    for (size_t l = 0; l < scale_run; ++l)
      block[of == BlockOf::values ? at * d + i + l : (i + l) * key_block + at] = run.q[l];
    store_some(reinterpret_cast<Half*>(block + scales_at(d, i)) + at, 1, all(run.scale));
  }
  return largest(top);
}

float remember(const float* x, size_t d, Format type, BlockOf of, size_t at, void* block) noexcept {
  if (type == Format::f32) return remember_as(x, d, of, at, static_cast<float*>(block));
  if (type == Format::f16) return remember_as(x, d, of, at, static_cast<Half*>(block));
  if (type == Format::bf16) return remember_as(x, d, of, at, static_cast<Brain*>(block));
  return remember_scaled(x, d, of, at, static_cast<int8_t*>(block));
}

}  // namespace
}  // namespace revenant
