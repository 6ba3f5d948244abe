// Two processes on two CUDA devices are one on one, over NCCL. Where there is one device they share
// it, and NCCL is told that they stand on two machines.
#include <torch/cuda.h>

#include "ranks_run.h"
#include "train/device.h"

namespace revenant {
namespace {

TEST_F(RanksTest, TwoOverNcclAreOne) {
  if (device_of(DeviceChoice::automatic).is_cpu())
    GTEST_SKIP() << "no CUDA device, or no part of torch for it";
  apart_ = torch::cuda::device_count() < 2;
  for (const std::string name : {"sft", "po"}) {
    write_recipe("device: cuda\nobjective: " + name + "\noptim: muon\nmax_steps: 20\n" +
                 "save_steps: 10\n");
    for (const int size : {1, 2}) run_whole(name + std::to_string(size), size);
    EXPECT_EQ(log_of(name + "1").size(), 20u);
    expect_like(name + "1", name + "2");
  }
}

}  // namespace
}  // namespace revenant
