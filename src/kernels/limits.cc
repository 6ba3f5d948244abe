#include "kernels/limits.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <vector>

#include "base/clock.h"

#ifdef REVENANT_X86_KERNELS
#include <immintrin.h>
#endif

namespace revenant {
namespace {

#ifdef REVENANT_X86_KERNELS
constexpr long rounds = 1 << 19;

// Twelve chains of one instruction, which no latency holds up; operations done.
#define REVENANT_PEAK(name, target_set, vector, constraint, text, operations)                \
  __attribute__((target(target_set))) double name() {                                        \
    vector chain[12] = {}, x{};                                                              \
    for (long i = 0; i < rounds; ++i)                                                        \
      _Pragma("GCC unroll 12") for (auto& s : chain) asm volatile(text : "+" constraint(s) : \
                                                                  constraint(x) : "xmm15");  \
    return double(rounds) * 12 * operations;                                                 \
  }
REVENANT_PEAK(f32_512, "avx512f", __m512, "v", "vfmadd231ps %1, %1, %0", 32)
REVENANT_PEAK(bf16_512, "avx512f,avx512bf16", __m512, "v", "vdpbf16ps %1, %1, %0", 64)
REVENANT_PEAK(int8_512, "avx512f,avx512vnni", __m512i, "v", "vpdpbusd %1, %1, %0", 128)
REVENANT_PEAK(pairs_512, "avx512f,avx512bw", __m512i, "v",
              "vpmaddubsw %1, %1, %%zmm15\n\tvpaddw %%zmm15, %0, %0", 128)
REVENANT_PEAK(f32_256, "avx2,fma", __m256, "x", "vfmadd231ps %1, %1, %0", 16)
REVENANT_PEAK(pairs_256, "avx2", __m256i, "x",
              "vpmaddubsw %1, %1, %%ymm15\n\tvpaddw %%ymm15, %0, %0", 64)
#undef REVENANT_PEAK

__attribute__((target("avx2"))) void read_all(const std::byte* data, size_t size) {
  for (size_t i = 0; i < size; i += 256) {
    __builtin_prefetch(data + i + 4096);
#pragma GCC unroll 8
    for (size_t l = 0; l < 256; l += 32) {
      const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + i + l));
      asm volatile("" ::"x"(x));
    }
  }
}

// Work a second of all threads at once, the best of five tries.
double rate(Threads& threads, const std::function<double(size_t)>& work) {
  double best = 0;
  const size_t count = size_t(threads.count());
  for (int run = 0; run < 5; ++run) {
    std::vector<double> done(count);
    const Stopwatch watch;
    threads.parallel_for(count, 1, [&](size_t first, size_t end) {
      for (size_t i = first; i < end; ++i) done[i] = work(i);
    });
    const double seconds = watch.seconds();
    double all = 0;
    for (const double one : done) all += one;
    best = std::max(best, all / seconds);
  }
  return best;
}

double read_rate(Threads& threads) {
  constexpr size_t beyond_caches = size_t(128) << 20;
  std::vector<std::byte> memory(beyond_caches * size_t(threads.count()), std::byte(1));
  return rate(threads, [&](size_t i) {
    read_all(memory.data() + i * beyond_caches, beyond_caches);
    return double(beyond_caches);
  });
}
#endif

}  // namespace

Limits measure_limits(const Kernels& kernels, Threads& threads) {
  Limits limits;
#ifdef REVENANT_X86_KERNELS
  const std::string_view isa = kernels.isa;
  const auto peak = [&](double (*work)()) { return rate(threads, [=](size_t) { return work(); }); };
  if (isa == "generic") return limits;
  const bool wide = isa != "avx2", vnni = isa == "avx512vnni" || isa == "avx512bf16";
  limits.f32 = peak(wide ? f32_512 : f32_256);
  limits.bf16 = isa == "avx512bf16" ? peak(bf16_512) : limits.f32;
  limits.int8 = peak(vnni ? int8_512 : wide ? pairs_512 : pairs_256);
  limits.read = read_rate(threads);
#else
  (void)kernels, (void)threads;
#endif
  return limits;
}

}  // namespace revenant
