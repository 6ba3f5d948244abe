// What gemm.cc is made of, compiled for AMX in gemm_amx.cc.
#pragma once

#include "kernels/gemm.h"

namespace revenant {

// Both factors are packed into tiles of 16 x 16 pairs of bf16 (vec_amx.h), 32 rows together, and
// loops go over them so, from the outside:
//   columns of c by gemm_width    b's panels of the stretch: width x depth x 2 B = 512 KB, half of
//   L2
//     k by gemm_depth             a's block: 32 x depth x 2 B = 32 KB, in L1
//       rows of c by gemm_side    packed by who computes them
//         columns by gemm_side    a panel of b: 32 KB, streamed from L2 once a block
constexpr size_t gemm_side = 32, gemm_depth = 512, gemm_width = 512;
constexpr size_t gemm_step = 32, gemm_pairs = 16 * 16;  // k of a tile, and its pairs

// Up to 32 rows from `row` on, `depth` of k from `k` on, with zeros behind both in tiles that have
// any; `turned`: pairs of k are a tile's rows, as b's are.
void pack_tiles(const GemmFactor& f, size_t row, size_t rows, size_t k, size_t depth, bool turned,
                uint32_t* to) noexcept;

// c [rows, columns] (+)= a block of a with panels of b; `starts`: every row of c counts as `first`
// [columns], or, null, as 0.
void gemm_block(const uint32_t* a, const uint32_t* b, size_t steps, bool starts, const float* first,
                size_t rows, size_t columns, float* c, size_t stride) noexcept;

}  // namespace revenant
