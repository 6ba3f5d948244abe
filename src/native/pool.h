// Buffers that were used and will be again. Keeps at most `limit` bytes; what was given back
// longest ago goes to the system first, so the sizes of a prompt make room for those of the steps.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <mutex>

namespace revenant {

// Must outlive its buffers. Safe from many threads.
class BufferPool {
 public:
  explicit BufferPool(size_t limit) : limit_(limit) {}
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;

  std::shared_ptr<float> get(size_t bytes);  // aligned to 64; throws bad_alloc
  size_t kept() const;                       // bytes that are free

 private:
  struct Free {
    size_t bytes;
    void* memory;
  };
  using Place = std::list<Free>::iterator;

  void* reuse(size_t& bytes);
  void put(float* memory, size_t bytes) noexcept;
  void forget(std::multimap<size_t, Place>::iterator at);

  const size_t limit_;
  mutable std::mutex mutex_;
  std::list<Free> by_age_;  // the oldest first
  std::multimap<size_t, Place> by_size_;
  size_t kept_ = 0;
};

}  // namespace revenant
