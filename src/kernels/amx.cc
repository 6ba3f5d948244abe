#include "kernels/vec_amx.h"
// The vector first, then the loops over it.
#include "kernels/text.h"

namespace revenant {

const Kernels amx_kernels = table_named("amx");

}  // namespace revenant
