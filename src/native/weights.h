// Weights where they lie: matrices are views into the mapped checkpoint, never copied; vectors and
// position tables are converted to f32 once.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "kernels/kernels.h"
#include "model/weights.h"

namespace revenant {

struct Matrix {
  const std::byte* data = nullptr;  // the stored tensor's first row
  WeightType type = WeightType::f32;
  int rows = 0, columns = 0;
  RowMap map;  // where row r stands; fused tensors are read in blocks of map.block rows
  std::shared_ptr<const std::vector<float>> values;  // of a vector or position table

  explicit operator bool() const { return data || values; }
  const float* floats() const { return values ? values->data() : nullptr; }
  const std::byte* row(int64_t r) const {
    return data + size_t(map(r)) * size_t(columns) * (type == WeightType::f32 ? 4 : 2);
  }
};

// A checkpoint's tensors and where each comes from, for messages. `extra` are tensors of other
// files (TroL's gate); the views must outlive the weights.
struct WeightSource {
  const Checkpoint* checkpoint = nullptr;
  Tensors extra;
  Path extra_file;
};

// Checks every tensor against the table; throws Error naming file, tensor, expected and found if
// one is missing, of another shape or type, or used by nothing.
Weights<Matrix> load_weights(const Config& config, const WeightSource& source);

}  // namespace revenant
