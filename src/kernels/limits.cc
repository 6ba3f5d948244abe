#include "kernels/limits.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <vector>

#include "base/clock.h"

#ifdef REVENANT_X86_KERNELS
#include <immintrin.h>
#endif
#ifdef REVENANT_ARM_KERNELS
#include <arm_neon.h>
#endif

namespace revenant {
namespace {

#if defined(REVENANT_X86_KERNELS) || defined(REVENANT_ARM_KERNELS)
constexpr long rounds = 1 << 19;
struct Peaks {
  double (*f32)(), (*bf16)(), (*int8)();
};

#ifdef REVENANT_X86_KERNELS
#define REVENANT_SPARE "xmm15"  // a register that an instruction's text may use
constexpr size_t chains = 12;
#else
#define REVENANT_SPARE "v31"
constexpr size_t chains = 16;  // four pipes of latency 4
#endif

// Chains of one instruction, as many as no latency holds up; operations done.
#define REVENANT_PEAK(name, target_set, vector, constraint, text, operations)                      \
  __attribute__((target(target_set))) double name() {                                              \
    vector chain[chains] = {}, x{};                                                                \
    for (long i = 0; i < rounds; ++i)                                                              \
      _Pragma("GCC unroll 16") for (auto& s : chain) asm volatile(text : "+" constraint(s) :       \
                                                                  constraint(x) : REVENANT_SPARE); \
    return double(rounds) * chains * operations;                                                   \
  }
#ifdef REVENANT_X86_KERNELS
REVENANT_PEAK(f32_512, "avx512f", __m512, "v", "vfmadd231ps %1, %1, %0", 32)
REVENANT_PEAK(bf16_512, "avx512f,avx512bf16", __m512, "v", "vdpbf16ps %1, %1, %0", 64)
REVENANT_PEAK(int8_512, "avx512f,avx512vnni", __m512i, "v", "vpdpbusd %1, %1, %0", 128)
REVENANT_PEAK(pairs_512, "avx512f,avx512bw", __m512i, "v",
              "vpmaddubsw %1, %1, %%zmm15\n\tvpaddw %%zmm15, %0, %0", 128)
REVENANT_PEAK(f32_256, "avx2,fma", __m256, "x", "vfmadd231ps %1, %1, %0", 16)
REVENANT_PEAK(pairs_256, "avx2", __m256i, "x",
              "vpmaddubsw %1, %1, %%ymm15\n\tvpaddw %%ymm15, %0, %0", 64)

// Four tiles of sums, as many as two of each factor make; operations done.
#define REVENANT_TILE_PEAK(name, target_set, product, operations)                               \
  __attribute__((target("amx-tile," target_set))) double name() {                               \
    alignas(64) uint8_t shapes[64] = {1};                                                       \
    for (size_t t = 0; t < 8; ++t) shapes[16 + 2 * t] = 64, shapes[48 + t] = 16;                \
    asm volatile("ldtilecfg %0" : : "m"(shapes));                                               \
    for (long i = 0; i < rounds / 8; ++i)                                                       \
      asm volatile(product " %%tmm6, %%tmm4, %%tmm0\n\t" product                                \
                           " %%tmm7, %%tmm4, %%tmm1\n\t" product                                \
                           " %%tmm6, %%tmm5, %%tmm2\n\t" product " %%tmm7, %%tmm5, %%tmm3" ::); \
    _tile_release();                                                                            \
    return double(rounds / 8) * 4 * operations;                                                 \
  }
REVENANT_TILE_PEAK(bf16_tiles, "amx-bf16", "tdpbf16ps", 16384)
REVENANT_TILE_PEAK(int8_tiles, "amx-int8", "tdpbssd", 32768)

Peaks peaks_of(std::string_view isa) {
  if (isa == "amx") return {f32_512, bf16_tiles, int8_tiles};
  if (isa == "avx2") return {f32_256, f32_256, pairs_256};
  if (isa == "avx512") return {f32_512, f32_512, pairs_512};
  return {f32_512, isa == "avx512bf16" ? bf16_512 : f32_512, int8_512};
}

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
#else
REVENANT_PEAK(f32_128, "arch=armv8-a", float32x4_t, "w", "fmla %0.4s, %1.4s, %1.4s", 8)
REVENANT_PEAK(int8_128, "arch=armv8-a+dotprod", int32x4_t, "w", "sdot %0.4s, %1.16b, %1.16b", 32)
// Sixteen products in 16 bits, then pairs of them in 32, as the loops sum without a dot product.
REVENANT_PEAK(pairs_128, "arch=armv8-a", int32x4_t, "w",
              "smull v31.8h, %1.8b, %1.8b\n\tsadalp %0.4s, v31.8h", 16)

Peaks peaks_of(std::string_view isa) {
  return {f32_128, f32_128, isa == "neondot" ? int8_128 : pairs_128};
}

void read_all(const std::byte* data, size_t size) {
  for (size_t i = 0; i < size; i += 128) {
    __builtin_prefetch(data + i + 4096);
#pragma GCC unroll 8
    for (size_t l = 0; l < 128; l += 16) {
      const uint8x16_t x = vld1q_u8(reinterpret_cast<const uint8_t*>(data + i + l));
      asm volatile("" ::"w"(x));
    }
  }
}
#endif
#undef REVENANT_PEAK
#undef REVENANT_TILE_PEAK
#undef REVENANT_SPARE

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
#if defined(REVENANT_X86_KERNELS) || defined(REVENANT_ARM_KERNELS)
  const std::string_view isa = kernels.isa;
  if (isa == "generic") return limits;
  const auto peak = [&](double (*work)()) { return rate(threads, [=](size_t) { return work(); }); };
  const Peaks peaks = peaks_of(isa);
  limits.f32 = peak(peaks.f32);
  limits.bf16 = peaks.bf16 == peaks.f32 ? limits.f32 : peak(peaks.bf16);
  limits.int8 = peak(peaks.int8);
  limits.read = read_rate(threads);
#else
  (void)kernels, (void)threads;
#endif
  return limits;
}

}  // namespace revenant
