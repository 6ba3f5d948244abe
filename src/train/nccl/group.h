// The module with NCCL's group of processes, which is built where CUDA's and NCCL's headers are and
// loaded once libtorch_cuda is.
#pragma once

#include <chrono>

#include "train/groups.h"

namespace revenant {

constexpr const char* kNcclModule = "librevenant_nccl.so";

// Lost ranks are the watch's to see (train/rank_watch.h), who tells slow ones from dead ones.
constexpr std::chrono::milliseconds kGroupTimeout = std::chrono::hours(24 * 7);

extern "C" c10d::Backend* revenant_nccl_group(const Store& store, int rank, int size,
                                              int device);  // a reference to be reclaimed

}  // namespace revenant
