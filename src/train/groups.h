// c10d's groups of processes: Gloo's for tensors on the CPU, NCCL's for those on CUDA devices.
#pragma once

#include <torch/types.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

namespace revenant {

using Store = c10::intrusive_ptr<c10d::Store>;
using Group = c10::intrusive_ptr<c10d::Backend>;

// `same_machine`: all ranks are on it and speak over its loopback; else over the interface that
// leads to the host's name, or GLOO_SOCKET_IFNAME's.
Group gloo_group(const Store& store, int rank, int size, bool same_machine);

// Throws Error where this build has no NCCL.
Group nccl_group(const Store& store, int rank, int size, torch::Device device);

}  // namespace revenant
