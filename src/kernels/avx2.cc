#include "kernels/vec_avx2.h"
// The vector first, then the loops over it.
#include "kernels/text.h"

namespace revenant {

const Kernels avx2_kernels = table_named("avx2");

}  // namespace revenant
