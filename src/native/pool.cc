#include "native/pool.h"

#include <cstdlib>
#include <new>

namespace revenant {

BufferPool::~BufferPool() {
  for (const Free& free : by_age_) std::free(free.memory);
}

std::shared_ptr<float> BufferPool::get(size_t bytes) {
  bytes = (bytes + 63) / 64 * 64;
  void* memory = reuse(bytes);
  if (!memory) memory = std::aligned_alloc(64, bytes);
  if (!memory) throw std::bad_alloc();
  return {static_cast<float*>(memory), [this, bytes](float* p) { put(p, bytes); }};
}

size_t BufferPool::kept() const {
  const std::lock_guard lock(mutex_);
  return kept_;
}

// The smallest that fits, unless it is more than a quarter too large; `bytes` becomes its size.
void* BufferPool::reuse(size_t& bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = by_size_.lower_bound(bytes);
  if (found == by_size_.end() || found->first > bytes + bytes / 4) return nullptr;
  void* memory = found->second->memory;
  bytes = found->first;
  forget(found);
  return memory;
}

void BufferPool::put(float* memory, size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  if (bytes > limit_) return std::free(memory);
  while (kept_ + bytes > limit_) {
    auto [at, end] = by_size_.equal_range(by_age_.front().bytes);
    while (at->second != by_age_.begin()) ++at;
    std::free(by_age_.front().memory);
    forget(at);
  }
  try {
    by_age_.push_back({bytes, memory});
  } catch (const std::bad_alloc&) {
    return std::free(memory);
  }
  try {
    by_size_.emplace(bytes, std::prev(by_age_.end()));
    kept_ += bytes;
  } catch (const std::bad_alloc&) {
    by_age_.pop_back();
    std::free(memory);
  }
}

void BufferPool::forget(std::multimap<size_t, Place>::iterator at) {
  kept_ -= at->first;
  by_age_.erase(at->second);
  by_size_.erase(at);
}

}  // namespace revenant
