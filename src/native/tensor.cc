#include "native/tensor.h"

#include <cstring>

#include "base/error.h"
#include "native/pool.h"

namespace revenant {
namespace {

// Never destroyed: tensors of static life may outlast any other order.
BufferPool& pool() {
  static BufferPool* const the_pool = new BufferPool(size_t(256) << 20);
  return *the_pool;
}

}  // namespace

Tensor::Tensor(int r, int h, int w) : rows(r), heads(h), width(w) {
  CHECK(r >= 0 && h > 0 && w > 0);
  buffer_ = pool().get(std::max<size_t>(1, size()) * sizeof(float));
}

size_t pooled_bytes() { return pool().kept(); }

Tensor Tensor::from(const float* values, int rows, int width) {
  Tensor t(rows, 1, width);
  std::memcpy(t.data(), values, t.size() * sizeof(float));
  return t;
}

Tensor Tensor::shaped(int new_heads, int new_width) const {
  CHECK(size_t(new_heads) * size_t(new_width) == row_size());
  Tensor t = *this;
  t.heads = new_heads;
  t.width = new_width;
  return t;
}

Tensor Tensor::slice(int first, int count) const {
  CHECK(first >= 0 && count >= 0 && first + count <= rows);
  Tensor t = *this;
  t.rows = count;
  t.buffer_ = std::shared_ptr<float>(buffer_, buffer_.get() + size_t(first) * row_size());
  return t;
}

}  // namespace revenant
