// The native executor's values. Copies share their numbers; buffers come from a pool (pool.h) and
// go back to it, so a forward like the one before takes the numbers' memory from there.
#pragma once

#include <cstddef>
#include <memory>

namespace revenant {

// f32 [rows, heads, width], row-major and dense. A matrix has one head.
class Tensor {
 public:
  int rows = 0, heads = 1, width = 0;

  Tensor() = default;
  Tensor(int rows, int heads, int width);  // not initialised
  static Tensor from(const float* values, int rows, int width);

  bool empty() const { return !buffer_; }
  size_t row_size() const { return size_t(heads) * size_t(width); }
  size_t size() const { return size_t(rows) * row_size(); }
  float* data() { return buffer_.get(); }
  const float* data() const { return buffer_.get(); }
  float* row(int r) { return data() + size_t(r) * row_size(); }
  const float* row(int r) const { return data() + size_t(r) * row_size(); }

  Tensor shaped(int new_heads, int new_width) const;  // the same numbers
  Tensor slice(int first, int count) const;           // rows of it, shared

 private:
  std::shared_ptr<float> buffer_;
};

size_t pooled_bytes();  // of all buffers that wait for a next tensor, of all threads

}  // namespace revenant
