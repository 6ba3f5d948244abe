#include "kernels/vec_neon.h"
// The vector first, then the loops over it.
#include "kernels/text.h"

namespace revenant {

const Kernels neon_kernels = table_named("neon");

}  // namespace revenant
