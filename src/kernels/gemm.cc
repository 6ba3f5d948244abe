#include "kernels/gemm.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "kernels/gemm_tiles.h"
#include "kernels/kernels.h"

namespace revenant {

bool has_bf16_gemm() { return std::string_view(kernels().isa) == "amx"; }

#ifdef REVENANT_X86_KERNELS
namespace {

// 64-byte aligned, kept by its thread.
uint32_t* scratch(std::vector<uint32_t>& kept, size_t pairs) {
  constexpr size_t line = 64 / sizeof(uint32_t);
  if (kept.size() < pairs + line) kept.resize(pairs + line);
  return reinterpret_cast<uint32_t*>((reinterpret_cast<uintptr_t>(kept.data()) + 63) / 64 * 64);
}

size_t blocks(size_t n, size_t of) { return (n + of - 1) / of; }

}  // namespace

void bf16_gemm(size_t m, size_t n, size_t k, const GemmFactor& a, const GemmFactor& b,
               const GemmOutput& c, const Split& split) {
  CHECK(has_bf16_gemm() && k > 0 && !(c.adds && c.bias));
  thread_local std::vector<uint32_t> of_b, of_a;
  for (size_t n0 = 0; n0 < n; n0 += gemm_width)
    for (size_t k0 = 0; k0 < k; k0 += gemm_depth) {
      const size_t width = std::min(gemm_width, n - n0), depth = std::min(gemm_depth, k - k0);
      const size_t steps = blocks(depth, gemm_step), panel = steps * 2 * gemm_pairs;
      uint32_t* const packed_b = scratch(of_b, blocks(width, gemm_side) * panel);
      split(blocks(width, gemm_side), [&](size_t begin, size_t end) {
        for (size_t j = begin; j < end; ++j)
          pack_tiles(b, n0 + j * gemm_side, std::min(gemm_side, width - j * gemm_side), k0, depth,
                     true, packed_b + j * panel);
      });
      split(blocks(m, gemm_side), [&](size_t begin, size_t end) {
        uint32_t* const packed_a = scratch(of_a, panel);
        for (size_t i = begin; i < end; ++i) {
          const size_t rows = std::min(gemm_side, m - i * gemm_side);
          pack_tiles(a, i * gemm_side, rows, k0, depth, false, packed_a);
          gemm_block(packed_a, packed_b, steps, k0 == 0 && !c.adds, c.bias ? c.bias + n0 : nullptr,
                     rows, width, c.values + i * gemm_side * c.stride + n0, c.stride);
        }
      });
    }
}
#else
void bf16_gemm(size_t, size_t, size_t, const GemmFactor&, const GemmFactor&, const GemmOutput&,
               const Split&) {
  CHECK(false);
}
#endif

}  // namespace revenant
