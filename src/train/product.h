// Products of activations and weights.
#pragma once

#include <torch/types.h>

namespace revenant {

// x [R, in] w' + bias: [R, out], as torch::linear. Under Autocast in products alone
// (device.h) factors are rounded to bf16, gradients too, and sums are float32.
torch::Tensor linear_rows(const torch::Tensor& x, const torch::Tensor& w,
                          const torch::Tensor& bias = {});

// x y of x [m, k], y [k, n], and x x', rounded so, without gradients. Where has_bf16_gemm()
// (kernels/gemm.h).
torch::Tensor rounded_product(const torch::Tensor& x, const torch::Tensor& y);
torch::Tensor rounded_square(const torch::Tensor& x);

}  // namespace revenant
