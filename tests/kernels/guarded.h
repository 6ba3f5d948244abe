// What the kernel tests share: memory that faults one element after its end, seeded numbers, and
// the tables that this machine can run.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/random.h"
#include "kernels/kernels.h"

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

// A test of every table there may be; one that the machine or the build lacks is skipped by name.
class EachTable : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    table = kernels_for(GetParam());
    if (!table) GTEST_SKIP() << "this machine or build has no " << GetParam();
  }
  const Kernels* table = nullptr;
};

inline const char* const isas[] = {
#ifdef __aarch64__
    "generic", "neon", "neondot"
#else
    "generic", "avx2", "avx512", "avx512vnni", "avx512bf16"
#endif
};

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

#define EACH_TABLE(suite)                                    \
  struct suite : EachTable {};                               \
  INSTANTIATE_TEST_SUITE_P(, suite, testing::ValuesIn(isas), \
                           [](const auto& one) { return std::string(one.param); })

inline uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }

// Whether two stretches of floats are the same, bit for bit.
inline bool same(const float* a, const float* b, size_t n) {
  for (size_t i = 0; i < n; ++i)
    if (bits(a[i]) != bits(b[i])) return false;
  return true;
}

}  // namespace revenant
