// All that the executor remembers of one sequence: its cached rows, Phantom's anchor and TroL's
// streams. Nothing of a sequence is kept anywhere else.
#pragma once

#include <array>
#include <limits>
#include <memory>
#include <vector>

#include "model/verbs.h"
#include "native/pages.h"

namespace revenant {

// Of one layer, made of the sequence's first row (phantom.h): what the mixers look at, and what the
// ghosts of its queries and keys add to a score at most, before the scale. Below `counts` they are
// left out of this sequence, whose first row alone decides.
struct Anchor {
  static constexpr float counts = 1e-7f;
  Seen<std::vector<float>> q, k, v;
  float ghosts_add = std::numeric_limits<float>::infinity();

  bool quiet() const { return ghosts_add < counts; }
};
// The six parts of what they look at, always in this order.
template <class A>
auto parts_of(A& a) {
  return std::array{&a.q.k, &a.q.v, &a.k.k, &a.k.v, &a.v.k, &a.v.v};
}

// A whole page of a sequence in all passes that its rows took, for sequences that begin alike.
struct SharedPage {
  std::vector<Page> passes;
  std::shared_ptr<std::vector<Anchor>> anchors;
};

class Sequence {
 public:
  // `types` are what keys and values are rounded to once, before anything reads them.
  explicit Sequence(const Config& config, CacheTypes types = Format::f32)
      : Sequence(config, std::make_shared<Pages>(config, types)) {}
  Sequence(const Config& config, std::shared_ptr<Pages> pages)
      : pages_(std::move(pages)), layers_(config.layers), tables_(size_t(config.trol.streams())) {}

  int rows = 0;  // in the cache; set by forward, lowered to go back to a prefix

  const PageShape& shape() const { return pages_->shape(); }
  // Pages for rows [start, start + count) of a pass, which nobody else owns: before they are
  // computed. What throws (no room) has changed no row.
  void reserve(int pass, int start, int count);
  // The block that row r is in, of one head.
  std::byte* block(int pass, int layer, CachePart part, int head, int r) const {
    return tables_[size_t(pass - 1)][size_t(r / page_rows)].data() + shape().at(layer, part, head);
  }
  Anchor& anchor(int layer) const { return (*anchors_)[size_t(layer)]; }

  // Second passes are needed only while the prompt may go on.
  void forget_later_passes();
  // Pages that hold none of the rows are given back.
  void trim();
  bool has_later_passes(int page) const { return tables_.back().size() > size_t(page); }
  // Rows [64 page, 64 (page + 1)) of the first `passes` passes.
  SharedPage page(int page, int passes) const;
  // The next 64 rows; they are computed, and begin a page.
  void take(const SharedPage& page);
  // Becomes `from`, sharing its pages; only the first passes' streams.
  void share(const Sequence& from, int streams);
  size_t bytes() const;  // of its pages, shared ones too

 private:
  std::shared_ptr<Pages> pages_;
  int layers_;
  std::vector<std::vector<Page>> tables_;         // [pass - 1][row / 64]
  std::shared_ptr<std::vector<Anchor>> anchors_;  // [layer]; of all that began with this first row
};

}  // namespace revenant
