// Verbs that torch has no single operator for. On the CPU each has its own loops and gradient:
// composed from torch's operators they pass over memory ten times and more. On other devices they
// are composed. float32 or float64, under autocast too; on the CPU results do not depend on the
// number of threads.
#pragma once

#include <torch/types.h>

namespace revenant {

// x [R, H] / root mean square of its row * weight [H].
torch::Tensor rms_norm_rows(const torch::Tensor& x, const torch::Tensor& weight, double eps);

// Half-split rotation of x [R, n, d] by cos, sin [R, 1, d / 2].
torch::Tensor rotate_rows(const torch::Tensor& x, const torch::Tensor& cos,
                          const torch::Tensor& sin);

// Softmax over the heads of a span's k [S, m, d] as the heads of its rows q [R, n, d] see them,
// times v [S, m, d]; `first` [S] names each span's first row. [R, n, d]
torch::Tensor attend_first_heads(const torch::Tensor& q, const torch::Tensor& k,
                                 const torch::Tensor& v, const torch::Tensor& first);

// silu(gate) up, of one shape.
torch::Tensor silu_times(const torch::Tensor& gate, const torch::Tensor& up);

// The same of torch's operators, on any device.
namespace composed {
torch::Tensor rms_norm_rows(const torch::Tensor& x, const torch::Tensor& weight, double eps);
torch::Tensor rotate_rows(const torch::Tensor& x, const torch::Tensor& cos,
                          const torch::Tensor& sin);
torch::Tensor attend_first_heads(const torch::Tensor& q, const torch::Tensor& k,
                                 const torch::Tensor& v, const torch::Tensor& first);
torch::Tensor silu_times(const torch::Tensor& gate, const torch::Tensor& up);
}  // namespace composed

}  // namespace revenant
