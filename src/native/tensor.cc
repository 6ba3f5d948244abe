#include "native/tensor.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

#include "base/error.h"

namespace revenant {
namespace {

// Free buffers by size. Keeps at most `limit` bytes; what is beyond goes back to the system.
class Pool {
 public:
  std::shared_ptr<float> get(size_t bytes) {
    bytes = (bytes + 63) / 64 * 64;
    void* memory = reuse(bytes);
    if (!memory) memory = std::aligned_alloc(64, bytes);
    if (!memory) throw std::bad_alloc();
    return {static_cast<float*>(memory), [this, bytes](float* p) { put(p, bytes); }};
  }

 private:
  static constexpr size_t limit = size_t(256) << 20;

  // The smallest that fits, unless it is more than a quarter too large. Its size in later calls is
  // the smaller one; sizes repeat from layer to layer, so little is lost.
  void* reuse(size_t& bytes) {
    const std::lock_guard lock(mutex_);
    const auto found = free_.lower_bound(bytes);
    if (found == free_.end() || found->first > bytes + bytes / 4) return nullptr;
    void* memory = found->second;
    bytes = found->first;
    kept_ -= bytes;
    free_.erase(found);
    return memory;
  }
  void put(float* memory, size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (kept_ + bytes > limit) return std::free(memory);
    free_.emplace(bytes, memory);
    kept_ += bytes;
  }

  std::mutex mutex_;
  std::multimap<size_t, void*> free_;
  size_t kept_ = 0;
};

// Never destroyed: tensors of static life may outlast any other order.
Pool& pool() {
  static Pool* const the_pool = new Pool;
  return *the_pool;
}

}  // namespace

Tensor::Tensor(int r, int h, int w) : rows(r), heads(h), width(w) {
  CHECK(r >= 0 && h > 0 && w > 0);
  buffer_ = pool().get(std::max<size_t>(1, size()) * sizeof(float));
}

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
