// The hot loops of the native executor, one table per instruction set, chosen once at start:
// REVENANT_ISA=generic|avx2|avx512|avx512vnni|avx512bf16|neon|neondot overrides. Everything here is
// noexcept, allocates nothing, single-threaded: callers split work over outputs, never over a sum.
//
// One order of summation (design.md, section 4): an output has one (vector) accumulator over K
// ascending and one fixed reduction tree, whatever the number of rows computed with it. So a row's
// result never depends on the batch, the chunk or the thread count.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/format.h"

namespace revenant {

enum class WeightType { f32, f16, bf16 };

inline size_t size_of(WeightType type) { return type == WeightType::f32 ? 4 : 2; }

// Attention of `queries` query rows over keys of one key/value head. Row i sees keys [0, counts[i])
// and reads no others; a row that sees none gets zeros.
// Keys are taken in blocks of 64 at absolute positions, merged in ascending order (online softmax);
// each block lies where its pointer says, so a cache may be in pages.
//   score = scale * (q . k + eta^2 * gq . gk),  plain = P v,  ghost = plain + eta * P gv
// Ghost pointers are all null or all set, but gq and gk may be null alone: then scores have no
// ghosts. The stride is in elements, head_dim <= 256.
constexpr size_t key_block = 64;
struct AttendArgs {
  int queries = 0, head_dim = 0;
  const int* counts = nullptr;       // [queries]
  const float* const* q = nullptr;   // [queries] -> [head_dim]
  const float* const* gq = nullptr;  // [queries] -> [head_dim], or null
  // [blocks] -> [64, stride], the last one as far as its keys go; blocks hold the largest count
  const void *const *k = nullptr, *const *v = nullptr, *const *gk = nullptr, *const *gv = nullptr;
  WeightType type = WeightType::f32;  // of these four
  size_t stride = 0;
  float scale = 1, eta = 0;
  float* const* plain = nullptr;  // [queries] -> [head_dim]
  float* const* ghost = nullptr;  // [queries] -> [head_dim], or null
};

// What a product reads its inputs as: part of what a model computes, the same for every instruction
// set. Quantised weights meet inputs rounded to 8 bits by blocks of 32 (panels.h). Weights of f32,
// f16 and bf16 meet them as they are; bf16 ones also rounded to brain floats, where that was asked
// for (WeightView::brain_inputs): twice as fast where the machine multiplies brain floats.
enum class Input { f32, bf16, int8 };

// Weights [n, k] as a product reads them: rows of f32, f16 or bf16, or panels (panels.h).
struct WeightView {
  Format format = Format::f32;
  const void* data = nullptr;
  size_t n = 0, k = 0;
  bool brain_inputs = false;  // of bf16 weights

  Input input() const {
    return is_quantised(format) ? Input::int8 : brain_inputs ? Input::bf16 : Input::f32;
  }
};

struct Kernels {
  const char* isa;
  size_t brain_bytes;  // of a prepared bf16 input: 2 where the machine multiplies them, else 4
  // Rows of x, [rows, k], become what products read: once for all weights that they meet. Takes
  // prepared_bytes(); nothing is to be done for f32.
  void (*prepare)(Input input, const float* x, size_t rows, size_t k, void* out) noexcept;
  // out[r, j] = bias[j] + sum_k x[r, k] w[j, k], x prepared, bias may be null, k > 0. out must not
  // overlap x; everywhere else but in attention out may be the input itself.
  void (*product)(const WeightView& w, const void* x, size_t rows, const float* bias, float* out,
                  size_t out_stride) noexcept;
  void (*rms_norm)(const float* x, size_t rows, size_t width, const float* weight, float eps,
                   float* out) noexcept;
  void (*layer_norm)(const float* x, size_t rows, size_t width, const float* weight,
                     const float* bias, float eps, float* out) noexcept;
  void (*gelu)(const float* x, size_t n, float* out) noexcept;        // exact: x Phi(x)
  void (*quick_gelu)(const float* x, size_t n, float* out) noexcept;  // x sigmoid(1.702 x)
  void (*silu)(const float* x, size_t n, float* out) noexcept;
  void (*tanh)(const float* x, size_t n, float* out) noexcept;
  void (*sigmoid)(const float* x, size_t n, float* out) noexcept;
  void (*swiglu)(const float* gate, const float* up, size_t n, float* out) noexcept;  // silu(g) u
  // exp(scale (x - the greatest x)), n > 0, scale > 0; returns their sum. Of NaNs it says nothing.
  float (*exponentials)(const float* x, size_t n, float scale, float* out) noexcept;
  // Half-split rotation of [rows, heads, d] by cos, sin [rows, d / 2].
  void (*rope)(const float* x, size_t rows, size_t heads, size_t d, const float* cos,
               const float* sin, float* out) noexcept;
  void (*attend)(const AttendArgs& args) noexcept;
  // Writes x in the type, rounded to nearest even; returns the greatest magnitude of x
  // (of NaNs it says nothing).
  float (*narrow)(const float* x, size_t n, WeightType type, void* out) noexcept;
  // Softmax over the m <= 1024 heads of k: out = softmax(q k^T / sqrt(d)) v; q [n, d], k, v [m, d].
  void (*attend_heads)(const float* q, size_t n, const float* k, const float* v, size_t m, size_t d,
                       float* out) noexcept;
};

// Of one prepared row of k numbers.
size_t prepared_bytes(const Kernels& kernels, Input input, size_t k);

// The table in use; throws Error, at every call, if REVENANT_ISA names an unknown or unsupported
// set.
const Kernels& kernels();
// A named table, or null where this machine or build lacks it: "generic", "avx2", "avx512", with
// VNNI "avx512vnni", with BF16 too "avx512bf16"; "neon", with the dot product "neondot".
const Kernels* kernels_for(const char* isa);

}  // namespace revenant
