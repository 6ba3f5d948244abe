#include "native/sequence.h"

#include <cstring>
#include <new>

namespace revenant {

void CacheRows::reserve(size_t rows, size_t row_bytes) {
  if (rows <= capacity_) return;
  const size_t capacity = (std::max(rows, capacity_ + capacity_ / 2) + 63) / 64 * 64;
  void* grown = std::realloc(data_.get(), capacity * row_bytes);
  if (!grown) throw std::bad_alloc();
  (void)data_.release();
  data_.reset(static_cast<std::byte*>(grown));
  capacity_ = capacity;
  row_bytes_ = row_bytes;
}

void CacheRows::copy(const CacheRows& from, size_t first, size_t end) {
  if (from.row_bytes_ == 0 || first == end) return;
  reserve(end, from.row_bytes_);
  std::memcpy(row(first), from.row(first), (end - first) * row_bytes_);
}

void Stream::copy(const Stream& from, size_t first, size_t end) {
  k.copy(from.k, first, end);
  v.copy(from.v, first, end);
  ghost_k.copy(from.ghost_k, first, end);
  ghost_v.copy(from.ghost_v, first, end);
}

void Sequence::copy_rows(const Sequence& from, int same, int streams) {
  for (size_t pass = 0; pass < size_t(streams); ++pass)
    for (size_t layer = 0; layer < streams_[pass].size(); ++layer)
      streams_[pass][layer].copy(from.streams_[pass][layer], size_t(same), size_t(from.rows));
  if (same == 0) anchors_ = from.anchors_;
  rows = from.rows;
}

void Sequence::forget_later_passes() {
  for (size_t pass = 1; pass < streams_.size(); ++pass)
    for (Stream& stream : streams_[pass]) stream = {};
}

size_t cache_row_bytes(const Config& c, WeightType type) {
  const size_t parts = c.phantom.on ? 4 : 2;
  return parts * size_t(c.layers) * size_t(c.kv_heads) * size_t(c.head_dim) * size_of(type);
}

size_t Sequence::bytes() const {
  size_t sum = 0;
  for (const auto& pass : streams_)
    for (const Stream& s : pass)
      sum += s.k.bytes() + s.v.bytes() + s.ghost_k.bytes() + s.ghost_v.bytes();
  return sum;
}

}  // namespace revenant
