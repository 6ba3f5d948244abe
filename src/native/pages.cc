#include "native/pages.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/dtype.h"
#include "base/error.h"

namespace revenant {

const char* name_of(CacheType type) {
  constexpr const char* names[] = {"f32", "f16", "bf16", "q8_0"};
  return names[size_t(type)];
}

PageShape::PageShape(const Config& c, CacheTypes types)
    : types(types),
      layers(size_t(c.layers)),
      parts(c.phantom.on ? 4 : 2),
      heads(size_t(c.kv_heads)),
      head_dim(size_t(c.head_dim)) {
  if (types.all == CacheType::q8_0 && head_dim % scale_run != 0)
    throw Error("cache", "q8_0", "heads of a multiple of 32 numbers", std::to_string(head_dim));
}

size_t PageShape::layer_bytes() const {
  size_t bytes = 0;
  for (size_t part = 0; part < parts; ++part) bytes += heads * bytes_of(CachePart(part));
  return bytes;
}

size_t PageShape::at(int layer, CachePart part, int head) const {
  // Only the last part may differ in size.
  return size_t(layer) * layer_bytes() + size_t(part) * heads * bytes_of(CachePart::k) +
         size_t(head) * bytes_of(part);
}

float PageShape::number(const std::byte* block, CachePart part, int row, int i) const {
  const size_t at = block_of(part) == BlockOf::keys ? size_t(i) * key_block + size_t(row)
                                                    : size_t(row) * head_dim + size_t(i);
  const auto half = [](const std::byte* numbers, size_t n) {
    uint16_t bits;
    std::memcpy(&bits, numbers + 2 * n, sizeof bits);
    return bits;
  };
  switch (types.of(part)) {
    case CacheType::f32:
      return reinterpret_cast<const float*>(block)[at];
    case CacheType::f16:
      return to_float_f16(half(block, at));
    case CacheType::bf16:
      return to_float_bf16(half(block, at));
    case CacheType::q8_0:
      break;
  }
  const size_t scale = size_t(i) / scale_run * key_block + size_t(row);
  return float(int8_t(block[at])) * to_float_f16(half(block + key_block * head_dim, scale));
}

Page::~Page() {
  if (!memory_ || memory_->owners.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  const std::shared_ptr<Pages> pages = memory_->pages;
  delete memory_;
  pages->held_.fetch_sub(pages->shape_.bytes());
}

Pages::Pages(const Config& config, CacheTypes types, size_t limit)
    : shape_(config, types), limit_(limit) {}

// Counts one page more, if the limit allows it.
bool Pages::take() noexcept {
  size_t held = held_.load();
  do {
    if (limit_ > 0 && held + shape_.bytes() > limit_) return false;
  } while (!held_.compare_exchange_weak(held, held + shape_.bytes()));
  for (size_t most = most_.load(); most < held + shape_.bytes();)
    if (most_.compare_exchange_weak(most, held + shape_.bytes())) break;
  return true;
}

void Pages::make_room(std::function<bool()> give_back) {
  const std::lock_guard lock(mutex_);
  give_back_ = std::move(give_back);
}

Page Pages::get() {
  const auto gave_back = [&] {
    const std::lock_guard lock(mutex_);
    return give_back_ && give_back_();
  };
  while (!take())
    if (!gave_back())
      throw Error(
          "cache", "memory", "at most " + std::to_string(limit_) + " bytes (--cache-memory)",
          std::to_string(shape_.bytes()) + " more than the " + std::to_string(held()) + " in use");
  const size_t bytes = (shape_.bytes() + 63) / 64 * 64;
  std::unique_ptr<std::byte, Page::Free> data(
      static_cast<std::byte*>(std::aligned_alloc(64, bytes)));
  Page page;
  if (data)
    page.memory_ = new (std::nothrow) Page::Memory{{1}, shared_from_this(), std::move(data)};
  if (page) return page;
  held_.fetch_sub(shape_.bytes());
  throw std::bad_alloc();
}

Page Pages::copy_of(const Page& from) {
  Page page = get();
  std::memcpy(page.data(), from.data(), shape_.bytes());
  return page;
}

}  // namespace revenant
