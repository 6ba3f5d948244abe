// A small counter-based generator: the same seed gives the same numbers on every machine, which
// std:: distributions do not promise.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>

namespace revenant {

// SplitMix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  uint64_t state() const { return state_; }
  double uniform() { return double(next() >> 11) * 0x1p-53; }  // [0, 1)
  // [0, n), n > 0; unbiased.
  uint64_t below(uint64_t n) {
    const uint64_t limit = ~0ull - ~0ull % n;
    uint64_t x = next();
    while (x >= limit) x = next();
    return x % n;
  }
  // Standard normal by Box-Muller; one number a call keeps the state a single counter.
  double normal() {
    const double u = 1.0 - uniform(), v = uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
  }
  template <class Range>
  void shuffle(Range& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  uint64_t state_;
};

}  // namespace revenant
