#include "native/pages.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/ascii.h"
#include "base/error.h"

namespace revenant {

std::string cache_name(Format type) { return lower_ascii(info(type).name); }

PageShape::PageShape(const Config& c, CacheTypes types)
    : types(types),
      layers(size_t(c.layers)),
      parts(c.phantom.on ? 4 : 2),
      heads(size_t(c.kv_heads)),
      head_dim(size_t(c.head_dim)) {
  for (const Format type : {types.all, types.ghost_v})
    if (const size_t block = info(type).block; head_dim % block != 0)
      throw Error("cache", cache_name(type),
                  "heads of a multiple of " + std::to_string(block) + " numbers",
                  std::to_string(head_dim));
  block = block_bytes(types.all, head_dim);
  ghost_v_block = block_bytes(types.ghost_v, head_dim);
  layer_bytes = heads * (c.phantom.on ? 3 * block + ghost_v_block : 2 * block);
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
