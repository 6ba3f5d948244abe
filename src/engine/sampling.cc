#include "engine/sampling.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"

namespace revenant {
namespace {

struct Candidate {
  int id;
  double score;  // logit, then probability relative to the likeliest token's
};
using Candidates = std::vector<Candidate>;

void check_logit(std::span<const float> logits, size_t i) {
  if (!std::isfinite(logits[i]))
    throw Error("sampling", "logit of token " + std::to_string(i), "a finite number",
                std::to_string(logits[i]));
}

Candidates candidates(std::span<const float> logits) {
  Candidates all(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    check_logit(logits, i);
    all[i] = {int(i), double(logits[i])};
  }
  return all;
}

void add_bias(Candidates& all, std::span<const std::pair<int, double>> bias) {
  for (const auto& [id, more] : bias)
    if (size_t(id) < all.size()) all[size_t(id)].score += more;
}

void keep_allowed(Candidates& all, std::span<const uint8_t> allowed) {
  if (allowed.empty()) return;
  std::erase_if(all, [&](const Candidate& c) {
    return size_t(c.id) >= allowed.size() || !allowed[size_t(c.id)];
  });
  if (all.empty()) throw Error("sampling", "tokens", "one that is allowed", "none");
}

void penalise(Candidates& all, std::span<const int> seen, double penalty) {
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
bool by_id(const Candidate& a, const Candidate& b) { return a.id < b.id; }

double total(const Candidates& some) {
  double sum = 0;
  for (const Candidate& c : some) sum += c.score;
  return sum;
}

// The k likeliest. This and the next two keep the order of ids.
void keep_top_k(Candidates& all, size_t k) {
  if (k == 0 || k >= all.size()) return;
  std::nth_element(all.begin(), all.begin() + std::ptrdiff_t(k), all.end(), before);
  all.resize(k);
  std::sort(all.begin(), all.end(), by_id);
}

void to_shares(Candidates& all, double temperature) {
  const double top = std::min_element(all.begin(), all.end(), before)->score;
  for (Candidate& c : all) c.score = std::exp((c.score - top) / temperature);
}

// The likeliest that reach `mass` together. Sorts no more of them than that takes, and some.
void keep_mass(Candidates& all, double mass) {
  size_t sorted = 0, keep = 0;
  for (double sum = 0; keep < all.size() && (keep == 0 || sum < mass); sum += all[keep++].score) {
    if (keep < sorted) continue;
    sorted = std::min(all.size(), 4 * sorted + 64);
    std::partial_sort(all.begin() + std::ptrdiff_t(keep), all.begin() + std::ptrdiff_t(sorted),
                      all.end(), before);
  }
  all.resize(keep);
  std::sort(all.begin(), all.end(), by_id);
}

int draw(const Candidates& all, Random& random) {
  double left = random.uniform() * total(all);
  for (const Candidate& c : all)
    if ((left -= c.score) < 0) return c.id;
  return all.back().id;
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
  for (const auto& [id, more] : s.bias)
    require(id >= 0 && std::isfinite(more), "bias", "finite, of a token", more);
}

int pick(const Sampling& s, std::span<const float> logits, std::span<const int> seen,
         Random& random, std::span<const uint8_t> allowed) {
  Candidates all = candidates(logits);
  add_bias(all, s.bias);
  if (s.repetition_penalty != 1) penalise(all, seen, s.repetition_penalty);
  keep_allowed(all, allowed);
  if (s.temperature == 0) return std::min_element(all.begin(), all.end(), before)->id;
  keep_top_k(all, size_t(s.top_k));
  to_shares(all, s.temperature);
  const double mass = s.top_p * total(all);
  std::erase_if(all, [&](const Candidate& c) { return c.score < s.min_p; });
  if (s.top_p < 1) keep_mass(all, mass);
  return draw(all, random);
}

double log_sum_exp(std::span<const float> logits) {
  const double most = double(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    check_logit(logits, i);
    sum += std::exp(double(logits[i]) - most);
  }
  return most + std::log(sum);
}

std::vector<TokenLogprob> logprobs(std::span<const float> logits, int id, int top) {
  CHECK(id >= 0 && size_t(id) < logits.size());
  const double whole = log_sum_exp(logits);
  Candidates all = candidates(logits);
  std::vector<TokenLogprob> made = {{id, double(logits[size_t(id)]) - whole}};
  const size_t count = std::min(all.size(), size_t(std::max(top, 0)));
  std::partial_sort(all.begin(), all.begin() + std::ptrdiff_t(count), all.end(), before);
  for (size_t i = 0; i < count; ++i) made.push_back({all[i].id, all[i].score - whole});
  return made;
}

}  // namespace revenant
