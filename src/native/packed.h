// A weight as the native executor holds it: a matrix that products read, or a vector of floats.
#pragma once

#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "model/weights.h"

namespace revenant {

// [rows, columns] in a format. Rows of f32, f16 and bf16 stay where the checkpoint is mapped, a
// fused tensor's in blocks (`map`); quantised ones lie in panels (kernels/panels.h), in order.
struct Packed {
  Format format = Format::f32;
  int rows = 0, columns = 0;
  RowMap map;
  const std::byte* data = nullptr;
  std::shared_ptr<const void> owner;  // of data, where it is not mapped
  bool brain_inputs = false;          // both as in WeightView
  bool per_channel = false;

  size_t bytes() const;  // what a product reads
  // Outputs from `begin` on, to `end` or as many as lie together; of panels `begin` is a multiple
  // of 16.
  WeightView view(size_t begin, size_t end) const;
  void unpack_row(int row, float* out) const;
};

// Panels of rows of blocks. `get(row, room)` gives where a row's blocks lie: somewhere else, or in
// `room`, which it has filled. It is called on any of the threads.
Packed pack(Format format, int rows, int columns, Threads& threads,
            const std::function<const std::byte*(int, std::byte*)>& get);
// Floats as panels, or as rows where the format has 16 or 32 bits: `get(row, out)`.
Packed packed_floats(Format format, int rows, int columns, Threads& threads,
                     const std::function<void(int, float*)>& get);

// Floats as panels of q8_0 with one scale an output.
Packed packed_channels(int rows, int columns, Threads& threads,
                       const std::function<void(int, float*)>& get);

// Floats; a position table has columns, all else one.
struct Vector {
  int rows = 0, columns = 1;
  std::shared_ptr<const std::vector<float>> values;

  const float* data() const { return values ? values->data() : nullptr; }
};

// One of the two, as the tensor table says.
struct Weight {
  Packed packed;
  Vector vector;
  // |W x| <= norm |x|; known of what Phantom's mixers end with, and the values' make of them
  // (weights.h).
  float norm = std::numeric_limits<float>::infinity();

  explicit operator bool() const { return packed.data || vector.values; }
};

}  // namespace revenant
