#include "kernels/vec_avx512.h"
// The vector first, then the loops over it.
#include "kernels/text.h"

namespace revenant {

const Kernels avx512bf16_kernels = table_named("avx512bf16");

}  // namespace revenant
