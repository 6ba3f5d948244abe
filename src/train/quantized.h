// Frozen matrices in 8 or 4 bits. A product makes floats of a few rows at a time, forward and
// backward, and keeps none of them: y = x W' with W as what is left of it after quantisation.
// Inputs are not quantised (LLM.int8 does that when it answers; nobody trains through it).
#pragma once

#include <torch/types.h>

#include <memory>
#include <vector>

#include "model/weights.h"
#include "store/quantized_base.h"

namespace revenant {

// [rows, columns], as a checkpoint stores it; the numbers of quant/int8.h or quant/nf4.h.
struct QuantizedTensor {
  QuantizedBase::Kind kind;
  int64_t rows = 0, columns = 0;
  torch::Tensor values;   // int8 [rows, columns]; NF4: uint8 [rows * columns / 2, up], two in each
  torch::Tensor scales;   // float32 [rows]; NF4: uint8 [blocks], of 64 values each
  torch::Tensor scales2;  // NF4: float32 [blocks / 256, up]
  float offset = 0;       // NF4: of the scales
};

// Throws Error unless all values are finite.
QuantizedTensor quantized(QuantizedBase::Kind kind, const std::vector<float>& values, int64_t rows,
                          int64_t columns);
QuantizedTensor on(torch::Device device, QuantizedTensor tensor);

// A weight [rows, columns]: rows of a stored tensor, which others may share.
struct QuantizedMatrix {
  std::shared_ptr<const QuantizedTensor> stored;
  RowMap map;
  int64_t rows = 0;
};

// Rows [first, last) of a weight, in float32, where it lies.
torch::Tensor dequantized(const QuantizedMatrix& matrix, int64_t first, int64_t last);

// x [R, columns] W': [R, rows], in bf16 under autocast, else as x. Gradients reach x.
torch::Tensor times(const torch::Tensor& x, const QuantizedMatrix& matrix);

namespace composed {
// The same of torch's operators, on any device.
torch::Tensor dequantized(const QuantizedMatrix& matrix, int64_t first, int64_t last);
}  // namespace composed

}  // namespace revenant
