#include "engine/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"

namespace revenant {
namespace {

struct Candidate {
  int id;
  double score;  // logit, then probability
};

void penalise(std::vector<Candidate>& all, std::span<const int> seen, double penalty) {
  std::vector<int> once(seen.begin(), seen.end());
  std::sort(once.begin(), once.end());
  once.erase(std::unique(once.begin(), once.end()), once.end());
  for (const int id : once) {
    double& score = all[size_t(id)].score;
    score = score > 0 ? score / penalty : score * penalty;
  }
}

// Largest first, the lowest id among equals.
bool before(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

void to_probabilities(std::vector<Candidate>& sorted, double temperature) {
  const double top = sorted.front().score;
  double sum = 0;
  for (Candidate& c : sorted) sum += c.score = std::exp((c.score - top) / temperature);
  for (Candidate& c : sorted) c.score /= sum;
}

// Drops the tail; what is left no longer sums to 1.
void cut(std::vector<Candidate>& sorted, double top_p, double min_p) {
  size_t keep = 0;
  double sum = 0, all = 0;
  for (const Candidate& c : sorted) all += c.score;
  while (keep < sorted.size() && (keep == 0 || sum < top_p * all)) sum += sorted[keep++].score;
  while (keep > 1 && sorted[keep - 1].score < min_p * sorted.front().score) --keep;
  sorted.resize(keep);
}

int draw(const std::vector<Candidate>& sorted, Random& random) {
  double sum = 0;
  for (const Candidate& c : sorted) sum += c.score;
  double left = random.uniform() * sum;
  for (const Candidate& c : sorted)
    if ((left -= c.score) < 0) return c.id;
  return sorted.back().id;
}

}  // namespace

void check(const Sampling& s) {
  const auto require = [](bool right, const char* name, const char* expected, double found) {
    if (!right) throw Error("sampling", name, expected, std::to_string(found));
  };
  require(s.repetition_penalty > 0, "repetition penalty", "a positive number",
          s.repetition_penalty);
  require(s.temperature >= 0 && std::isfinite(s.temperature), "temperature", "0 or more",
          s.temperature);
  require(s.top_k >= 0, "top-k", "0 or more", s.top_k);
  require(s.top_p > 0 && s.top_p <= 1, "top-p", "a number in (0, 1]", s.top_p);
  require(s.min_p >= 0 && s.min_p <= 1, "min-p", "a number in [0, 1]", s.min_p);
}

int pick(const Sampling& s, std::span<const float> logits, std::span<const int> seen,
         Random& random) {
  std::vector<Candidate> all(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!std::isfinite(logits[i]))
      throw Error("sampling", "logit of token " + std::to_string(i), "a finite number",
                  std::to_string(logits[i]));
    all[i] = {int(i), double(logits[i])};
  }
  if (s.repetition_penalty != 1) penalise(all, seen, s.repetition_penalty);
  if (s.temperature == 0) return std::min_element(all.begin(), all.end(), before)->id;
  const size_t keep = s.top_k > 0 ? std::min(size_t(s.top_k), all.size()) : all.size();
  std::partial_sort(all.begin(), all.begin() + std::ptrdiff_t(keep), all.end(), before);
  all.resize(keep);
  to_probabilities(all, s.temperature);
  cut(all, s.top_p, s.min_p);
  return draw(all, random);
}

}  // namespace revenant
