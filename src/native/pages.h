// Memory of cached keys and values: pages of 64 rows of one pass of a sequence, of all layers.
// Whoever holds a page is one of its owners; sequences that share a beginning share its pages, and
// who would write into a shared one copies it first (Sequence::reserve).
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "kernels/kernels.h"
#include "model/config.h"

namespace revenant {

constexpr int page_rows = int(key_block);

enum class CachePart { k, v, ghost_k, ghost_v };  // ghosts with Phantom only

inline BlockOf block_of(CachePart part) {
  return part == CachePart::k || part == CachePart::ghost_k ? BlockOf::keys : BlockOf::values;
}

// What keys, values and the ghosts of keys are cached as, and what the ghosts of values are, which
// may need fewer bits.
struct CacheTypes {
  CacheTypes(Format type) : all(type), ghost_v(type) {}
  CacheTypes(Format type, Format ghost_v) : all(type), ghost_v(ghost_v) {}
  Format of(CachePart part) const { return part == CachePart::ghost_v ? ghost_v : all; }
  Format all, ghost_v;
};

std::string cache_name(Format type);  // "f16", "q8_0": as the command line has it

// A page's bytes are [layer][part][kv_head] blocks of the kernels (BlockOf).
struct PageShape {
  // Throws Error where the type needs another head_dim.
  PageShape(const Config& config, CacheTypes types);
  CacheTypes types;
  size_t layers, parts, heads, head_dim;
  size_t block, ghost_v_block, layer_bytes;  // bytes; a block's of all parts but the values' ghosts

  size_t bytes_of(CachePart part) const {
    return part == CachePart::ghost_v ? ghost_v_block : block;
  }
  size_t bytes() const { return layers * layer_bytes; }
  // Of one token's keys and values in all layers, with Phantom their ghosts: of one pass. A prompt
  // that may go on has Config::trol.streams() of them.
  size_t token_bytes() const { return bytes() / key_block; }
  // Of one head's block. Only the last part may differ in size.
  size_t at(int layer, CachePart part, int head) const {
    return size_t(layer) * layer_bytes + size_t(part) * heads * block +
           size_t(head) * bytes_of(part);
  }
  // Number i of a row of a block.
  float number(const std::byte* block, CachePart part, int row, int i) const {
    return number_in(block, types.of(part), head_dim, block_of(part), size_t(row), size_t(i));
  }
};

class Pages;

// An owner of a page, or of none.
class Page {
 public:
  Page() = default;
  Page(const Page& other) noexcept : memory_(other.memory_) {
    if (memory_) memory_->owners.fetch_add(1, std::memory_order_relaxed);
  }
  Page(Page&& other) noexcept : memory_(std::exchange(other.memory_, nullptr)) {}
  Page& operator=(Page other) noexcept {
    std::swap(memory_, other.memory_);
    return *this;
  }
  ~Page();

  explicit operator bool() const { return memory_; }
  bool operator==(const Page& other) const { return memory_ == other.memory_; }
  // Whether others own it too. Only an owner makes further ones, so what is not shared stays so.
  bool shared() const { return memory_->owners.load(std::memory_order_acquire) > 1; }
  std::byte* data() const { return memory_->data.get(); }

 private:
  friend class Pages;
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  struct Memory {
    std::atomic<size_t> owners{1};
    std::shared_ptr<Pages> pages;
    std::unique_ptr<std::byte, Free> data;
  };
  Memory* memory_ = nullptr;
};

// Gives pages while their bytes stay within a limit. Safe from many threads.
class Pages : public std::enable_shared_from_this<Pages> {
 public:
  Pages(const Config& config, CacheTypes types, size_t limit = 0);  // bytes; 0: none

  // Of new pages nothing is initialised. Throws Error where the limit leaves no room, even after
  // all that `make_room` could do.
  Page get();
  Page copy_of(const Page& page);
  // Asked for as long as there is no room and it returns true, on any thread; one at a time.
  void make_room(std::function<bool()> give_back);

  const PageShape& shape() const { return shape_; }
  size_t limit() const { return limit_; }
  size_t held() const { return held_.load(); }  // bytes of all pages that have an owner
  size_t most() const { return most_.load(); }  // that were held at any time

 private:
  friend class Page;
  bool take() noexcept;

  const PageShape shape_;
  const size_t limit_;
  std::atomic<size_t> held_{0}, most_{0};
  std::mutex mutex_;  // of what follows
  std::function<bool()> give_back_;
};

}  // namespace revenant
