// The hot loops of the native executor, one table per instruction set, chosen once at start:
// REVENANT_ISA=generic|avx2|avx512|avx512vnni|avx512bf16|amx|neon|neondot overrides. Everything
// here is noexcept, allocates nothing, single-threaded: callers split work over outputs, never over
// a sum.
//
// One order of summation (design.md, section 4): an output has one (vector) accumulator over K
// ascending and one fixed reduction tree, a score one for each run of 32 numbers, added in their
// order, whatever the number of rows computed with it. So a row's result never depends on the
// batch, the piece of a prompt or the thread count.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/format.h"

namespace revenant {

// What keys and values are cached as: in q8_0, whose runs are of scale_run numbers, head_dim is a
// multiple of that.
constexpr Format cache_formats[] = {Format::f32, Format::f16, Format::bf16, Format::q8_0};

// Rows of one head of d numbers, key_block of them together. Keys lie column by column, [d][64], so
// that scores are summed with a key a lane; values row by row, [64][d]. In q8_0 the scales of the
// runs follow in f16, [d / 32][64] of both. A block of keys is read to its end, whatever its rows.
constexpr size_t key_block = 64, scale_run = 32;
enum class BlockOf { keys, values };
inline size_t block_bytes(Format type, size_t d) { return key_block * row_bytes(type, d); }
// Number i of a row of a block.
float number_in(const void* block, Format type, size_t d, BlockOf of, size_t row, size_t i);

// Attention of `queries` query rows over keys of one key/value head. Row i sees keys [0,
// counts[i]); what blocks hold behind them counts nothing. A row that sees none gets zeros.
//   score = scale * (q . k + eta^2 * gq . gk),  plain = P v,  ghost = plain + eta * P gv
// Each block lies where its pointer says, so a cache may be in pages. Ghost pointers are all null
// or all set, but gq and gk may be null alone: then scores have no ghosts. head_dim <= 256. Keys
// are summed in blocks at absolute positions, in ascending order (online softmax), anew in every
// chunk of key_chunk keys; chunks are joined in ascending order.
constexpr size_t key_chunk = 1024, most_head_dim = 256;
struct AttendArgs {
  int queries = 0, head_dim = 0;
  const int* counts = nullptr;       // [queries]
  const float* const* q = nullptr;   // [queries] -> [head_dim]
  const float* const* gq = nullptr;  // [queries] -> [head_dim], or null
  // [blocks], as many as the largest count needs
  const void *const *k = nullptr, *const *v = nullptr, *const *gk = nullptr, *const *gv = nullptr;
  Format type = Format::f32;        // of k, v and gk
  Format ghost_type = Format::f32;  // of gv
  float scale = 1, eta = 0;
  float* const* plain = nullptr;  // [queries] -> [head_dim]
  float* const* ghost = nullptr;  // [queries] -> [head_dim], or null
};

// What is known of a query after some of its keys: of weights relative to the largest score their
// total, their sum of v, and that of gv.
struct alignas(64) AttendSums {
  float plain[most_head_dim], ghost[most_head_dim], largest, total;
};

// What a product reads its inputs as: part of what a model computes, the same for every instruction
// set. Quantised weights meet inputs rounded to 8 bits by blocks of 32 (panels.h). Weights of f32,
// f16 and bf16 meet them as they are; bf16 ones also rounded to brain floats, where that was asked
// for (WeightView::brain_inputs): twice as fast where the machine multiplies brain floats. Weights
// of 8 bits whose outputs have one scale each for all of K (per channel) meet rows of one scale
// (per token): their sums over all of K are whole numbers.
enum class Input { f32, bf16, int8, int8_rows };

// Weights [n, k] as a product reads them: rows of f32, f16 or bf16, or panels (panels.h).
struct WeightView {
  Format format = Format::f32;
  const void* data = nullptr;
  size_t n = 0, k = 0;
  bool brain_inputs = false;  // of bf16 weights
  bool per_channel = false;   // of q8_0: all blocks of an output have the same scale

  Input input() const {
    if (is_quantised(format)) return per_channel ? Input::int8_rows : Input::int8;
    return brain_inputs ? Input::bf16 : Input::f32;
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
  // exp(scale (x - the greatest x)), n > 0, scale > 0; returns their sum. What would be below e^-87
  // is 0, in attention too: numbers below the normal ones take some machines a hundred times as
  // long. Of NaNs it says nothing.
  float (*exponentials)(const float* x, size_t n, float scale, float* out) noexcept;
  // Half-split rotation of [rows, heads, d] by cos, sin [rows, d / 2].
  void (*rope)(const float* x, size_t rows, size_t heads, size_t d, const float* cos,
               const float* sin, float* out) noexcept;
  void (*attend)(const AttendArgs& args) noexcept;
  // The same in two steps, to the last bit: sums [queries] of one chunk of keys, then of all chunks
  // [chunks][queries] what they come to.
  void (*attend_chunk)(const AttendArgs& args, size_t chunk, AttendSums* sums) noexcept;
  void (*attend_join)(const AttendArgs& args, const AttendSums* sums) noexcept;
  // x [d] becomes row `at` of a block, rounded to nearest even; returns the greatest magnitude of x
  // (of NaNs it says nothing).
  float (*remember)(const float* x, size_t d, Format type, BlockOf of, size_t at,
                    void* block) noexcept;
  // Softmax over the m heads of k: out = softmax(q k^T / sqrt(d)) v; q [n, d], k, v [m, d].
  void (*attend_heads)(const float* q, size_t n, const float* k, const float* v, size_t m, size_t d,
                       float* out) noexcept;
};

// Of one prepared row of k numbers.
size_t prepared_bytes(const Kernels& kernels, Input input, size_t k);

// The table in use; throws Error, at every call, if REVENANT_ISA names an unknown or unsupported
// set.
const Kernels& kernels();
// A named table, or null where this machine or build lacks it: "generic", "avx2", "avx512", with
// VNNI "avx512vnni", with BF16 too "avx512bf16", with AMX too "amx"; "neon", with the dot product
// "neondot".
const Kernels* kernels_for(const char* isa);

}  // namespace revenant
