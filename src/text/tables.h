// The two hash tables of a tokenizer: token text <-> id, and (left, right) -> merge. Open
// addressing and one arena of text, because opening a tokenizer is mostly filling them.
#pragma once

#include <bit>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace revenant {

constexpr int32_t largest_id = (1 << 24) - 1;  // far above any vocabulary; bounds what an id costs

class StringTable {
 public:
  // False if the text or the id is taken already.
  bool insert(std::string_view text, int32_t id) {
    if (find(text) >= 0 || has(id)) return false;
    if (size_t(id) >= entries_.size()) entries_.resize(size_t(id) + 1);
    entries_[size_t(id)] = {arena_.size(), text.size()};
    arena_ += text;
    if (++count_ * 2 > slots_.size()) return rehash(count_ * 2), true;
    place(id);
    return true;
  }
  void reserve(size_t count) {
    entries_.reserve(count);
    arena_.reserve(count * 8);
    if (count * 2 > slots_.size()) rehash(count);
  }
  int32_t find(std::string_view text) const {
    if (slots_.empty()) return -1;
    const size_t mask = slots_.size() - 1, key = hash(text);
    for (size_t i = key & mask; slots_[i].id >= 0; i = (i + 1) & mask)
      if (slots_[i].tag == uint32_t(key >> 32) && text_of(slots_[i].id) == text)
        return slots_[i].id;
    return -1;
  }
  bool has(int32_t id) const {
    return id >= 0 && size_t(id) < entries_.size() && entries_[size_t(id)].at != absent;
  }
  std::string_view text_of(int32_t id) const {
    const Entry& e = entries_[size_t(id)];
    return std::string_view(arena_).substr(e.at, e.size);
  }
  int32_t size() const { return int32_t(entries_.size()); }  // largest id plus one

 private:
  static constexpr size_t absent = std::numeric_limits<size_t>::max();
  struct Slot {
    int32_t id = -1;
    uint32_t tag = 0;  // the upper half of the hash: a mismatch need not touch the text
  };
  struct Entry {
    size_t at = absent, size = 0;
  };
  static size_t hash(std::string_view text) { return std::hash<std::string_view>()(text); }
  void place(int32_t id) {
    const size_t mask = slots_.size() - 1, key = hash(text_of(id));
    size_t i = key & mask;
    while (slots_[i].id >= 0) i = (i + 1) & mask;
    slots_[i] = {id, uint32_t(key >> 32)};
  }
  void rehash(size_t count) {
    slots_.assign(std::bit_ceil(count * 2 + 16), Slot());
    for (int32_t id = 0; id < size(); ++id)
      if (has(id)) place(id);
  }

  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;
  size_t count_ = 0;
};

struct Merge {
  int32_t rank, id;  // lower ranks first; id of the joined token
};

class PairTable {
 public:
  explicit PairTable(size_t expected = 0) { reserve(expected); }
  void insert(int32_t left, int32_t right, Merge merge) {  // a later entry replaces an earlier one
    if ((count_ + 1) * 2 > slots_.size()) reserve(count_ * 2 + 16);
    Slot& slot = slots_[place(key(left, right))];
    if (slot.key == empty) ++count_;
    slot = {key(left, right), merge};
  }
  std::optional<Merge> find(int32_t left, int32_t right) const {
    const Slot& slot = slots_[place(key(left, right))];
    if (slot.key == empty) return std::nullopt;
    return slot.merge;
  }
  void reserve(size_t count) {
    std::vector<Slot> old(std::bit_ceil(count * 2 + 2));
    old.swap(slots_);
    for (const Slot& slot : old)
      if (slot.key != empty) slots_[place(slot.key)] = slot;
  }

 private:
  static constexpr uint64_t empty = ~0ull;
  struct Slot {
    uint64_t key = empty;
    Merge merge = {0, 0};
  };
  static uint64_t key(int32_t l, int32_t r) { return uint64_t(uint32_t(l)) << 32 | uint32_t(r); }
  size_t place(uint64_t k) const {
    const size_t mask = slots_.size() - 1;
    size_t i = size_t((k * 0x9e3779b97f4a7c15ull) >> 20) & mask;
    while (slots_[i].key != empty && slots_[i].key != k) i = (i + 1) & mask;
    return i;
  }
  std::vector<Slot> slots_;
  size_t count_ = 0;
};

}  // namespace revenant
