// What the kernel tests share: memory that faults one element after its end, seeded numbers, and
// the tables that this machine can run.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/random.h"
#include "kernels/kernels.h"
#include "support/each_table.h"

namespace revenant {

// `size` elements that end where an unreadable page begins. (Sanitizers do not see masked loads.)
// REVENANT_UNGUARDED is for emulators that read whole vectors under a mask, as QEMU 7.2 does.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t size, T value = T()) : size_(size) {
    const size_t page = size_t(sysconf(_SC_PAGESIZE));
    inner_ = (size * sizeof(T) + page - 1) / page * page;
    base_ = static_cast<char*>(
        mmap(nullptr, inner_ + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (!std::getenv("REVENANT_UNGUARDED")) mprotect(base_ + inner_, page, PROT_NONE);
    whole_ = inner_ + page;
    for (size_t i = 0; i < size; ++i) data()[i] = value;
  }
  Guarded(const Guarded& o) : Guarded(o.size_) { std::copy_n(o.data(), size_, data()); }
  Guarded(Guarded&& o) noexcept
      : base_(std::exchange(o.base_, nullptr)),
        inner_(o.inner_),
        whole_(o.whole_),
        size_(o.size_) {}
  ~Guarded() {
    if (base_) munmap(base_, whole_);
  }
  T* data() const { return reinterpret_cast<T*>(base_ + inner_) - size_; }
  T& operator[](size_t i) const { return data()[i]; }
  size_t size() const { return size_; }

 private:
  char* base_;
  size_t inner_, whole_, size_;
};

inline Guarded<float> normals(size_t size, uint64_t seed) {
  Guarded<float> out(size);
  Random random(seed);
  for (size_t i = 0; i < size; ++i) out[i] = float(random.normal());
  return out;
}

// A product as the executor makes it: x prepared in memory that ends where it must.
inline Guarded<float> product_of(const Kernels& table, const WeightView& w, const float* x,
                                 size_t rows, const float* bias = nullptr) {
  Guarded<float> out(rows * w.n);
  const Input input = w.input();
  Guarded<uint8_t> prepared(rows * prepared_bytes(table, input, w.k));
  if (input != Input::f32) table.prepare(input, x, rows, w.k, prepared.data());
  table.product(w, input == Input::f32 ? static_cast<const void*>(x) : prepared.data(), rows, bias,
                out.data(), w.n);
  return out;
}

// Rows [n, d] of keys or values in blocks, as the plain twin enters them; what no row fills is
// `rest`. The last block ends where it must.
struct Blocks {
  Blocks(const float* rows, size_t n, size_t d, Format type, BlockOf of, uint8_t rest = 0xff)
      : bytes((n + key_block - 1) / key_block * block_bytes(type, d), rest) {
    for (size_t at = 0; at < bytes.size(); at += block_bytes(type, d))
      pointers.push_back(bytes.data() + at);
    for (size_t r = 0; r < n; ++r)
      kernels_for("generic")->remember(rows + r * d, d, type, of, r % key_block,
                                       bytes.data() + r / key_block * block_bytes(type, d));
  }
  Guarded<uint8_t> bytes;
  std::vector<const void*> pointers;
};

// Number i of row `at` of a block, by hand.
inline float held_number(const uint8_t* block, size_t d, Format type, BlockOf of, size_t at,
                         size_t i) {
  const size_t n = of == BlockOf::keys ? i * key_block + at : at * d + i;
  const auto read = [&]<class T>(T value, size_t byte) {
    std::memcpy(&value, block + byte, sizeof value);
    return value;
  };
  const auto half = [&](size_t byte) { return read(uint16_t(), byte); };
  if (type == Format::f32) return read(float(), 4 * n);
  if (type == Format::f16) return to_float_f16(half(2 * n));
  if (type == Format::bf16) return to_float_bf16(half(2 * n));
  return float(int8_t(block[n])) * to_float_f16(half(key_block * d + 2 * (i / 32 * 64 + at)));
}

// A row of d numbers as a cache of the type gives it back.
inline std::vector<float> rounded(const float* x, size_t d, Format type) {
  std::vector<float> out(x, x + d);
  for (size_t i = 0; i < d; ++i) {
    if (type == Format::f16) out[i] = to_float_f16(to_f16(x[i]));
    if (type == Format::bf16) out[i] = to_float_bf16(to_bf16(x[i]));
    if (type != Format::q8_0) continue;
    float most = 0;
    for (size_t l = i / 32 * 32; l < i / 32 * 32 + 32; ++l) most = std::max(most, std::fabs(x[l]));
    const float scale = to_float_f16(to_f16(most / 127));
    out[i] = most > 0 ? scale * std::nearbyint(x[i] * (127 / most)) : 0;
  }
  return out;
}

inline uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }

// Whether two stretches of floats are the same, bit for bit.
inline bool same(const float* a, const float* b, size_t n) {
  for (size_t i = 0; i < n; ++i)
    if (bits(a[i]) != bits(b[i])) return false;
  return true;
}

}  // namespace revenant
