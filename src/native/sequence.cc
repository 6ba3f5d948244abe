#include "native/sequence.h"

#include <new>

namespace revenant {

void CacheRows::reserve(size_t rows, size_t width) {
  if (rows <= capacity_) return;
  const size_t capacity = (std::max(rows, capacity_ + capacity_ / 2) + 63) / 64 * 64;
  void* grown = std::realloc(data_.get(), capacity * width * sizeof(float));
  if (!grown) throw std::bad_alloc();
  (void)data_.release();
  data_.reset(static_cast<float*>(grown));
  capacity_ = capacity;
  width_ = width;
}

void Sequence::forget_later_passes() {
  for (size_t pass = 1; pass < streams_.size(); ++pass)
    for (Stream& stream : streams_[pass]) stream = {};
}

size_t Sequence::bytes() const {
  size_t sum = 0;
  for (const auto& pass : streams_)
    for (const Stream& s : pass)
      sum += s.k.bytes() + s.v.bytes() + s.ghost_k.bytes() + s.ghost_v.bytes();
  return sum;
}

}  // namespace revenant
