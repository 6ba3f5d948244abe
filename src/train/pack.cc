#include "train/pack.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "model/rope.h"

namespace revenant {
namespace {

class Packer {
 public:
  Packer(const TorchBatch& from, int first, const RopeConfig& rope)
      : from_(from), first_(first), rope_(rope) {}

  // Sequences with the same token at row `begin`, all of whose rows before are in `parent`'s line.
  void add(const std::vector<int>& sequences, int begin, int parent) {
    const bool alone = sequences.size() == 1;
    const int end = alone ? span(sequences[0]).rows : shared(sequences, begin);
    if (end > begin) parent = emit(sequences[0], begin, end, parent);
    if (alone) {
      span_of[sequences[0]] = parent;
      return;
    }
    std::map<std::pair<int64_t, int>, std::vector<int>> branches;  // by token and rotation
    std::vector<const std::vector<int>*> in_order;
    for (const int s : sequences) {
      std::vector<int>& branch = branches[{end == bound(s) ? -1 - s : id(s, end), key(s)}];
      if (branch.empty()) in_order.push_back(&branch);
      branch.push_back(s);
    }
    for (const auto* branch : in_order) add(*branch, end, parent);
  }

  std::vector<Span> spans;
  std::vector<int> rows;       // of `from`, in their new order
  std::map<int, int> span_of;  // the last one of each sequence

 private:
  const Span& span(int s) const { return from_.step.spans[size_t(s)]; }
  int64_t id(int s, int row) const { return from_.ids[size_t(span(s).first_row + row)]; }
  int key(int s) const { return rope_rule_key(rope_, span(s).rope_length); }

  // The first row that must be the sequence's own.
  int bound(int s) const {
    const auto begin = from_.labels.begin() + span(s).first_row;
    const auto label = std::find_if(begin, begin + span(s).rows, [](int64_t l) { return l >= 0; });
    return std::min(int(label - begin), span(s).rows - 1 - span(s).generated);
  }
  int shared(const std::vector<int>& sequences, int begin) const {
    const int first = sequences[0];
    int end = bound(first);
    for (const int s : sequences) {
      if (key(s) != key(first)) return begin;
      end = std::min(end, bound(s));
      for (int row = begin; row < end; ++row)
        if (id(s, row) != id(first, row)) end = row;
    }
    return std::max(begin, end);
  }
  int emit(int s, int begin, int end, int parent) {
    Span made = span(s);
    made.first_row = first_row_ + int(rows.size());
    made.rows = end - begin;
    made.start = begin;
    made.parent = parent;
    if (end < span(s).rows) made.generated = 0;
    for (int row = begin; row < end; ++row) rows.push_back(span(s).first_row + row);
    spans.push_back(made);
    return first_ + int(spans.size()) - 1;
  }

  const TorchBatch& from_;
  const int first_;
  const RopeConfig& rope_;
  const int first_row_ = from_.step.spans[size_t(first_)].first_row;
};

// The rows from the first of `rows` on, in the order of `rows`.
template <class T>
void reorder(std::vector<T>& values, const std::vector<int>& rows, size_t first) {
  std::vector<T> in_order;
  for (const int row : rows) in_order.push_back(values[size_t(row)]);
  values.resize(first);
  values.insert(values.end(), in_order.begin(), in_order.end());
}

}  // namespace

void pack(TorchBatch& batch, int first, const RopeConfig& rope) {
  Step& step = batch.step;
  if (int(step.spans.size()) - first < 2) return;
  const auto first_row = size_t(step.spans[size_t(first)].first_row);
  std::vector<int> sequences(step.spans.size() - size_t(first));
  std::iota(sequences.begin(), sequences.end(), first);
  Packer packer(batch, first, rope);
  packer.add(sequences, 0, -1);
  reorder(batch.ids, packer.rows, first_row);
  reorder(batch.labels, packer.rows, first_row);
  reorder(step.picture, packer.rows, first_row);
  step.rows = int(batch.ids.size());
  step.spans.resize(size_t(first));
  step.spans.insert(step.spans.end(), packer.spans.begin(), packer.spans.end());
  for (AnswerPair& pair : batch.pairs)
    if (pair.chosen >= first)
      pair = {packer.span_of.at(pair.chosen), packer.span_of.at(pair.rejected), pair.row};
}

}  // namespace revenant
