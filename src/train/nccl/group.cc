#define USE_C10D_NCCL  // as libtorch_cuda was built
#include "train/nccl/group.h"

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

namespace revenant {

extern "C" c10d::Backend* revenant_nccl_group(const Store& store, int rank, int size, int device) {
  c10::cuda::set_device(c10::DeviceIndex(device));
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = kGroupTimeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, options).release();
}

}  // namespace revenant
