#include "text/bpe.h"

#include <queue>
#include <tuple>

namespace revenant {
namespace {

struct Candidate {
  int32_t rank, at, id;
  bool operator>(const Candidate& o) const { return std::tie(rank, at) > std::tie(o.rank, o.at); }
};

struct Symbol {
  int32_t id, previous, next;  // id < 0: merged away
};

// The word as a linked list of symbols, and the joins that may come next.
class Merger {
 public:
  Merger(const Vocabulary& v, const std::vector<int32_t>& ids) : v_(v) {
    const auto n = int32_t(ids.size());
    for (int32_t i = 0; i < n; ++i)
      word_.push_back({ids[size_t(i)], i - 1, i + 1 < n ? i + 1 : -1});
    for (int32_t i = 0; i + 1 < n; ++i) offer(i);
  }
  void run() {
    while (!queue_.empty()) {
      const Candidate top = queue_.top();
      queue_.pop();
      const auto merge = join_at(top.at);
      if (merge && merge->id == top.id) join(top);
    }
  }
  std::vector<int32_t> ids() const {
    std::vector<int32_t> out;
    for (int32_t i = 0; i >= 0; i = word_[size_t(i)].next) out.push_back(word_[size_t(i)].id);
    return out;
  }

 private:
  std::optional<Merge> join_at(int32_t at) const {
    const Symbol& left = word_[size_t(at)];
    if (left.id < 0 || left.next < 0) return std::nullopt;
    return v_.merges.find(left.id, word_[size_t(left.next)].id);
  }
  // Merges that would spell an added token do not exist for text.
  void offer(int32_t at) {
    if (const auto m = join_at(at); m && v_.added_at[size_t(m->id)] < 0)
      queue_.push({m->rank, at, m->id});
  }
  void join(const Candidate& c) {
    Symbol& left = word_[size_t(c.at)];
    Symbol& right = word_[size_t(left.next)];
    left.id = c.id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) {
      word_[size_t(left.next)].previous = c.at;
      offer(c.at);
    }
    if (left.previous >= 0) offer(left.previous);
  }

  const Vocabulary& v_;
  std::vector<Symbol> word_;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue_;
};

}  // namespace

std::vector<int32_t> merge_pairs(const Vocabulary& v, std::vector<int32_t> symbols) {
  if (symbols.size() < 2) return symbols;
  Merger merger(v, symbols);
  merger.run();
  return merger.ids();
}

}  // namespace revenant
