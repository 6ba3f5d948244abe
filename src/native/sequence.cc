#include "native/sequence.h"

#include "base/error.h"

namespace revenant {

void Sequence::reserve(int pass, int start, int count) {
  std::vector<Page>& table = tables_[size_t(pass - 1)];
  const size_t first = size_t(start / page_rows),
               end = size_t((start + count + page_rows - 1) / page_rows);
  CHECK(count > 0 && table.size() * page_rows >= size_t(start));
  if (start == 0 && pass == 1) anchors_ = std::make_shared<std::vector<Anchor>>(size_t(layers_));
  for (size_t p = first; p < end; ++p) {
    if (p == table.size())
      table.push_back(pages_->get());
    else if (table[p].shared())
      table[p] = p == first && start % page_rows > 0 ? pages_->copy_of(table[p]) : pages_->get();
  }
}

void Sequence::trim() {
  const size_t used = size_t((rows + page_rows - 1) / page_rows);
  for (std::vector<Page>& table : tables_)
    if (table.size() > used) table.resize(used);
}

SharedPage Sequence::page(int page, int passes) const {
  SharedPage shared{{}, anchors_};
  for (int pass = 0; pass < passes; ++pass)
    shared.passes.push_back(tables_[size_t(pass)][size_t(page)]);
  return shared;
}

void Sequence::take(const SharedPage& page) {
  const size_t at = size_t(rows / page_rows);
  CHECK(rows % page_rows == 0 && page.passes.size() <= tables_.size());
  for (size_t pass = 0; pass < page.passes.size(); ++pass) {
    CHECK(tables_[pass].size() >= at);
    tables_[pass].resize(at + 1);
    tables_[pass][at] = page.passes[pass];
  }
  if (rows == 0) anchors_ = page.anchors;
  rows += page_rows;
}

void Sequence::share(const Sequence& from, int streams) {
  std::vector<std::vector<Page>> tables(from.tables_.begin(), from.tables_.begin() + streams);
  tables.resize(tables_.size());
  tables_ = std::move(tables);
  pages_ = from.pages_;
  anchors_ = from.anchors_;
  rows = from.rows;
}

void Sequence::forget_later_passes() {
  for (size_t pass = 1; pass < tables_.size(); ++pass) tables_[pass].clear();
}

size_t Sequence::bytes() const {
  size_t pages = 0;
  for (const auto& table : tables_) pages += table.size();
  return pages * pages_->shape().bytes();
}

}  // namespace revenant
