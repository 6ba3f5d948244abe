#include "engine/beam.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/sampling.h"

namespace revenant {
namespace {

struct Candidate {
  double sum;
  int beam, id;
};

// Likeliest first; among equals the lower beam, then the lower id.
bool before(const Candidate& a, const Candidate& b) {
  if (a.sum != b.sum) return a.sum > b.sum;
  return a.beam != b.beam ? a.beam < b.beam : a.id < b.id;
}

void add_candidates(const BeamSearch::Beam& beam, int index, std::span<const float> logits,
                    double penalty, std::vector<Candidate>& all) {
  const double log_sum = log_sum_exp(logits);
  const size_t first = all.size();
  for (size_t id = 0; id < logits.size(); ++id)
    all.push_back({beam.sum + (logits[id] - log_sum), index, int(id)});
  if (penalty == 1) return;
  for (const int id : std::set(beam.ids.begin(), beam.ids.end()))
    all[first + size_t(id)].sum += (logits[size_t(id)] - log_sum) * (penalty - 1);
}

bool worse(const Hypothesis& a, const Hypothesis& b) { return a.score < b.score; }

// Keeps the best `most`; of equals at the border the older ones.
void add(std::vector<Hypothesis>& kept, Hypothesis more, size_t most) {
  if (kept.size() == most) {
    const auto worst = std::min_element(kept.begin(), kept.end(), worse);
    if (!worse(*worst, more)) return;
    kept.erase(worst);
  }
  kept.push_back(std::move(more));
}

std::vector<int> with(std::vector<int> ids, int id) {
  ids.push_back(id);
  return ids;
}

}  // namespace

void BeamSearch::take(const Tensor& logits, int first_row) {
  CHECK(!done());
  const size_t n = size_t(options_.beams);
  std::vector<Candidate> all;
  all.reserve(open_.size() * size_t(logits.width));
  for (size_t b = 0; b < open_.size(); ++b)
    add_candidates(open_[b], int(b), {logits.row(first_row + int(b)), size_t(logits.width)},
                   options_.repetition_penalty, all);
  // As many as needed for n to go on whatever ends.
  const size_t most = std::min(all.size(), n * std::max<size_t>(2, 1 + options_.stop_ids.size()));
  std::partial_sort(all.begin(), all.begin() + std::ptrdiff_t(most), all.end(), before);
  ++length_;
  std::vector<Beam> next;
  for (size_t rank = 0; rank < most && next.size() < n; ++rank) {
    const Candidate& c = all[rank];
    const std::vector<int> ids = with(open_[size_t(c.beam)].ids, c.id);
    if (!options_.stop_ids.contains(c.id))
      next.push_back({ids, c.sum, c.beam});
    else if (rank < n)
      add(ended_, {ids, c.sum / length_}, n);
  }
  open_ = std::move(next);
  settled_ = ended_.size() == n && std::min_element(ended_.begin(), ended_.end(), worse)->score >=
                                       all.front().sum / length_;
}

Hypothesis BeamSearch::best() const {
  std::vector<Hypothesis> all = ended_;
  if (!settled_)
    for (const Beam& beam : open_)
      add(all, {beam.ids, beam.sum / std::max(1, length_)}, size_t(options_.beams));
  return *std::max_element(all.rbegin(), all.rend(), worse);  // the last of equals
}

Beams::Beams(Session& session, const BeamOptions& options)
    : prompt_(session), prompt_tokens_(session.cached()), search_(options), lanes_{&session} {}

// A session that has `parent`'s history and is nobody's.
Session* Beams::lane_for(const Session& parent) {
  if (spare_.empty()) return &forks_.emplace_back(parent.fork());
  Session* const lane = spare_.back();
  spare_.pop_back();
  lane->follow(parent, prompt_tokens_);
  return lane;
}

// The first child of a beam goes on in its session, its other children in copies.
void Beams::take(const Tensor& logits, int first_row) {
  search_.take(logits, first_row);
  const std::vector<BeamSearch::Beam>& open = search_.open();
  std::vector<Session*> next(open.size()), left = lanes_;
  for (size_t b = 0; b < open.size(); ++b)
    next[b] = std::exchange(left[size_t(open[b].parent)], nullptr);
  for (Session* lane : left)
    if (lane) spare_.push_back(lane);
  for (size_t b = 0; b < open.size() && !search_.done(); ++b)
    if (!next[b]) next[b] = lane_for(*lanes_[size_t(open[b].parent)]);
  lanes_ = std::move(next);
}

void Beams::put() {
  for (size_t b = 0; b < lanes_.size(); ++b) lanes_[b]->put(search_.open()[b].ids.back());
}

void Beams::close() { prompt_.rewind(prompt_tokens_); }

}  // namespace revenant
