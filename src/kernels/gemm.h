// Products of float32 matrices whose factors are rounded to bf16 on the way and whose sums stay
// float32, in AMX's tiles. For training: autocast makes bf16 of every activation around a product,
// which takes longer than these products do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace revenant {

// This machine and build have them; REVENANT_ISA names no lesser set.
bool has_bf16_gemm();

// A factor of a product whose sums run over k: [rows, k] with k alone in a row (`along_k`), or
// [k, rows]. `stride`: numbers from one row in memory to the next.
struct GemmFactor {
  const void* values;  // float, or bf16 as uint16_t
  bool is_bf16;
  bool along_k;
  size_t stride;
};

// Calls its second argument with pieces [begin, end) of 0 to `count`, on as many threads as it
// likes.
using Split = std::function<void(size_t, const std::function<void(size_t, size_t)>&)>;

// What a product becomes, with `bias` [n] added to each row unless null, or, `adds`, is added to;
// `stride` numbers from row to row.
struct GemmOutput {
  float* values;
  size_t stride;
  bool adds = false;
  const float* bias = nullptr;  // not where it adds
};

// c [m, n] = a b' + bias, or c += a b', k > 0. The bits do not depend on how the work is split.
void bf16_gemm(size_t m, size_t n, size_t k, const GemmFactor& a, const GemmFactor& b,
               const GemmOutput& c, const Split& split);

}  // namespace revenant
