// The tables that exist in this build; kernels.cc chooses among them.
#pragma once

#include "kernels/kernels.h"

namespace revenant {

extern const Kernels generic_kernels, avx2_kernels, avx512_kernels;

}  // namespace revenant
