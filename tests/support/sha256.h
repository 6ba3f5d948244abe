// SHA-256 (FIPS 180-4), for comparing with the hashes in the golden data.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace revenant::golden {

// The first 32 bits of the fractional part of a root of a prime, exactly: primes below 312 keep
// long double far from a rounding boundary.
inline uint32_t root_bits(long double root) {
  return uint32_t((root - std::floor(root)) * 4294967296.0L);
}

inline std::vector<int> primes(size_t count) {
  std::vector<int> found;
  for (int n = 2; found.size() < count; ++n) {
    bool prime = true;
    for (const int p : found) prime = prime && n % p != 0;
    if (prime) found.push_back(n);
  }
  return found;
}

inline void sha256_block(std::array<uint32_t, 8>& state, const uint8_t* block) {
  static const std::vector<int> prime = primes(64);
  uint32_t w[64];
  for (int i = 0; i < 16; ++i)
    w[i] = uint32_t(block[4 * i]) << 24 | uint32_t(block[4 * i + 1]) << 16 |
           uint32_t(block[4 * i + 2]) << 8 | block[4 * i + 3];
  using std::rotr;
  for (int i = 16; i < 64; ++i)
    w[i] = w[i - 16] + w[i - 7] + (rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ (w[i - 15] >> 3)) +
           (rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ (w[i - 2] >> 10));
  static const std::vector<uint32_t> k = [] {
    std::vector<uint32_t> k;
    for (const int p : prime) k.push_back(root_bits(std::cbrt((long double)p)));
    return k;
  }();
  auto [a, b, c, d, e, f, g, h] = state;
  for (size_t i = 0; i < 64; ++i) {
    const uint32_t t1 =
        h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i];
    const uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  const std::array<uint32_t, 8> add{a, b, c, d, e, f, g, h};
  for (size_t i = 0; i < 8; ++i) state[i] += add[i];
}

inline std::string sha256(std::span<const uint8_t> bytes) {
  std::array<uint32_t, 8> state;
  for (size_t i = 0; i < 8; ++i) state[i] = root_bits(std::sqrt((long double)primes(8)[i]));
  const size_t whole = bytes.size() / 64 * 64;
  for (size_t at = 0; at < whole; at += 64) sha256_block(state, bytes.data() + at);
  std::vector<uint8_t> tail(bytes.begin() + ptrdiff_t(whole), bytes.end());
  tail.push_back(0x80);
  while (tail.size() % 64 != 56) tail.push_back(0);
  for (int shift = 56; shift >= 0; shift -= 8)
    tail.push_back(uint8_t(uint64_t(bytes.size()) * 8 >> shift));
  for (size_t at = 0; at < tail.size(); at += 64) sha256_block(state, tail.data() + at);
  std::string hex;
  for (const uint32_t word : state)
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
  return hex;
}

}  // namespace revenant::golden
