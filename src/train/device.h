// Where a model computes: the CPU, or the first CUDA device (of several processes on a machine each
// has its own, by LOCAL_RANK). The program is built without CUDA;
// torch's part for it is loaded when it is asked for, and must stand where libtorch does
// (tools/install.sh cuda).
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "train/device_choice.h"

namespace revenant {

// `automatic` is CUDA where it works. Throws Error where `cuda` does not, with the reason.
torch::Device device_of(DeviceChoice choice);

// "cuda:0 (NVIDIA H200)"
std::string described(torch::Device device);

// Indices as a tensor [n] on a device.
torch::Tensor indices(const std::vector<int64_t>& values, torch::Device device);

// bf16 on this thread, for as long as it lives: by torch's autocast, but on a CPU with AMX in
// products alone (product.h), and all else stays float32.
class Autocast {
 public:
  Autocast(bool on, torch::Device device);
  ~Autocast();
  Autocast(const Autocast&) = delete;

  static bool is_on(torch::Device device);  // either way
  static bool in_products_alone();

 private:
  torch::Device device_;
  bool cached_;
};

// No autocast on this thread, for as long as it lives.
class NoAutocast {
  c10::impl::ExcludeDispatchKeyGuard guard_{
      c10::DispatchKeySet({c10::DispatchKey::AutocastCPU, c10::DispatchKey::AutocastCUDA})};
};

}  // namespace revenant
