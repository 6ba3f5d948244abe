// Attention under Autocast in products alone (device.h): its products are rounded to bf16 and
// summed in float32, its softmax is float32, with gradients. On AMX; torch's own attention on the
// CPU is float32, and at heads of 24 to 64 numbers takes a quarter of a training.
#pragma once

#include <torch/types.h>

#include <memory>
#include <vector>

#include "model/verbs.h"

namespace revenant {

// Rows that look at each other, one after the other.
struct AttentionSpan {
  // Rows [begin, end) that do not see the rows [first, second) of each pair before them.
  struct Branch {
    int64_t begin, end;
    std::vector<std::pair<int64_t, int64_t>> unseen = {};
  };
  int64_t first_row, rows;  // branches count from the first
  bool causal;
  std::vector<Branch> branches = {};
};

// softmax((q k' + ghost q ghost k') scale) times v, and times ghost v. q [R, n, d], k and v
// [R, m, d], n a multiple of m. Ghosts carry their eta. `spans` cover all R.
Halves<torch::Tensor> attend_rows(const Haunted<torch::Tensor>& a,
                                  const std::shared_ptr<const std::vector<AttentionSpan>>& spans,
                                  double scale);

}  // namespace revenant
