// Products of activations and weights.
#pragma once

#include <torch/types.h>

namespace revenant {

// x [R, in] w' + bias: [R, out], as torch::linear. Under Autocast in products alone
// (device.h) factors are rounded to bf16, gradients too, and sums are float32.
torch::Tensor linear_rows(const torch::Tensor& x, const torch::Tensor& w,
                          const torch::Tensor& bias = {});

}  // namespace revenant
