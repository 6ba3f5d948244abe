// The tables that exist in this build; kernels.cc chooses among them.
#pragma once

#include "kernels/kernels.h"

namespace revenant {

// Stored 16-bit weights.
struct Half {
  uint16_t bits;
};
struct Brain {
  uint16_t bits;
};

// Whose exponential is still a normal number.
constexpr float least_weight = -87.0f;

extern const Kernels generic_kernels, avx2_kernels, avx512_kernels, avx512vnni_kernels,
    avx512bf16_kernels, amx_kernels, neon_kernels, neondot_kernels;

}  // namespace revenant
