// Files of torch.save that hold one dictionary of tensors (`trol_gating.pt`), in the zip form and
// in the older one. No code of the file is ever run; see io/pickle.h.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "io/tensor.h"

namespace revenant {

struct TorchTensor {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  std::vector<std::byte> data;  // contiguous, row-major
  TensorView view() const { return {dtype, shape, data}; }
};

// In the dictionary's order. Throws Error that names the file and the opcode, name or tensor.
std::vector<std::pair<std::string, TorchTensor>> read_torch_file(const Path& file);

// The zip form, as torch.save writes an OrderedDict; atomic. Tensors over the same bytes share one
// storage, as tied parameters do. At most 2 GB.
void write_torch_file(const Path& file, std::span<const NamedTensor> tensors);

}  // namespace revenant
