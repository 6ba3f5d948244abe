#include "engine/sampling.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/kernels.h"

namespace revenant {
namespace {

// In the order of ids.
struct Candidates {
  std::vector<int> ids;
  std::vector<float> scores;  // logits, then probabilities relative to the likeliest token's

  size_t size() const { return ids.size(); }
  template <class F>
  void keep(const F& stays) {
    size_t kept = 0;
    for (size_t i = 0; i < size(); ++i) {
      const bool one = stays(i);
      ids[kept] = ids[i], scores[kept] = scores[i];
      kept += one;
    }
    ids.resize(kept), scores.resize(kept);
  }
};

void check_logits(std::span<const float> logits) {
  uint32_t most = 0;
  for (const float x : logits) most = std::max(most, std::bit_cast<uint32_t>(x) & 0x7fffffffu);
  if (most < 0x7f800000u) return;
  const auto bad = std::ranges::find_if_not(logits, [](float x) { return std::isfinite(x); });
  throw Error("sampling", "logit of token " + std::to_string(bad - logits.begin()),
              "a finite number", std::to_string(*bad));
}

Candidates candidates(std::span<const float> logits) {
  check_logits(logits);
  Candidates all{std::vector<int>(logits.size()), {logits.begin(), logits.end()}};
  std::iota(all.ids.begin(), all.ids.end(), 0);
  return all;
}

// These two are asked before any candidate is gone.
void add_bias(Candidates& all, std::span<const std::pair<int, double>> bias) {
  for (const auto& [id, more] : bias)
    if (size_t(id) < all.size())
      all.scores[size_t(id)] = float(double(all.scores[size_t(id)]) + more);
}

void penalise(Candidates& all, std::span<const int> seen, double penalty) {
  std::vector<int> once(seen.begin(), seen.end());
  std::sort(once.begin(), once.end());
  once.erase(std::unique(once.begin(), once.end()), once.end());
  for (const int id : once) {
    float& score = all.scores[size_t(id)];
    score = float(score > 0 ? double(score) / penalty : double(score) * penalty);
  }
}

void keep_allowed(Candidates& all, std::span<const uint8_t> allowed) {
  if (allowed.empty()) return;
  all.keep(
      [&](size_t i) { return size_t(all.ids[i]) < allowed.size() && allowed[size_t(all.ids[i])]; });
  if (all.ids.empty()) throw Error("sampling", "tokens", "one that is allowed", "none");
}

double total(const Candidates& some) {
  return std::accumulate(some.scores.begin(), some.scores.end(), 0.0);
}

// A whole number in the order of x.
uint32_t key_of(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x + 0.0f);  // -0 is 0
  return bits >> 31 ? ~bits : bits | 1u << 31;
}

// The likeliest whose weights reach `target` together, one at least; of equals the lowest ids.
// Nothing is sorted: the key of those at the edge is found part by part, each from the weights of
// all that share the parts before it.
template <class Weight>
void keep_likeliest(Candidates& all, double target, Weight weight) {
  std::vector<uint32_t> keys(all.size());
  uint32_t highest = 0, lowest = ~0u, edge = 0;  // edge: its parts so far
  for (size_t i = 0; i < all.size(); ++i) {
    keys[i] = key_of(all.scores[i]);
    highest = std::max(highest, keys[i]), lowest = std::min(lowest, keys[i]);
  }
  if (lowest == highest) edge = highest;
  double sum = 0;  // of those above the edge
  for (int rest = 32; const int width : {11, 11, 10}) {
    if (lowest == highest) break;  // it is known
    std::vector<double> weights(size_t(1) << width);
    rest -= width;
    const uint32_t before = uint32_t(uint64_t(edge) << width), mask = (1u << width) - 1;
    uint32_t last = mask;
    double of_highest = 0;  // most of them, where few tokens are likely: not through memory
    for (size_t i = 0; i < all.size(); ++i) {
      const uint32_t part = (keys[i] >> rest) - before;
      if (part > mask) continue;
      last = std::min(last, part);
      if (keys[i] == highest)
        of_highest += weight(i);
      else
        weights[part] += weight(i);
    }
    if ((highest >> rest) - before <= mask) weights[(highest >> rest) - before] += of_highest;
    uint32_t part = mask;
    for (; part > last && sum + weights[part] < target; --part) sum += weights[part];
    edge = before | part;
  }
  all.keep([&](size_t i) {
    if (keys[i] != edge) return keys[i] > edge;
    const bool stays = sum < target;
    sum += weight(i);
    return stays;
  });
}

// The k likeliest.
void keep_top_k(Candidates& all, size_t k) {
  if (k > 0 && k < all.size()) keep_likeliest(all, double(k), [](size_t) { return 1.0; });
}

void to_shares(Candidates& all, double temperature) {
  constexpr double most = 1e30;  // of what a difference is multiplied by
  kernels().exponentials(all.scores.data(), all.size(), float(std::min(most, 1 / temperature)),
                         all.scores.data());
}

int draw(const Candidates& all, Random& random) {
  double left = random.uniform() * total(all);
  for (size_t i = 0; i < all.size(); ++i)
    if ((left -= double(all.scores[i])) < 0) return all.ids[i];
  return all.ids.back();
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
  if (s.temperature == 0)
    return all.ids[size_t(std::ranges::max_element(all.scores) - all.scores.begin())];
  keep_top_k(all, size_t(s.top_k));
  to_shares(all, s.temperature);
  const double mass = s.top_p < 1 ? s.top_p * total(all) : 0;
  if (s.min_p > 0) all.keep([&](size_t i) { return double(all.scores[i]) >= s.min_p; });
  if (s.top_p < 1) keep_likeliest(all, mass, [&](size_t i) { return double(all.scores[i]); });
  return draw(all, random);
}

double log_sum_exp(std::span<const float> logits) {
  check_logits(logits);
  const double most = double(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (const float x : logits) sum += std::exp(double(x) - most);
  return most + std::log(sum);
}

std::vector<TokenLogprob> logprobs(std::span<const float> logits, int id, int top) {
  CHECK(id >= 0 && size_t(id) < logits.size());
  const double whole = log_sum_exp(logits);
  std::vector<int> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const size_t count = std::min(ids.size(), size_t(std::max(top, 0)));
  std::partial_sort(ids.begin(), ids.begin() + std::ptrdiff_t(count), ids.end(), [&](int a, int b) {
    const float x = logits[size_t(a)], y = logits[size_t(b)];
    return x != y ? x > y : a < b;
  });
  std::vector<TokenLogprob> made;
  const auto add = [&](int token) {
    made.push_back({token, double(logits[size_t(token)]) - whole});
  };
  add(id);
  for (size_t i = 0; i < count; ++i) add(ids[i]);
  return made;
}

}  // namespace revenant
