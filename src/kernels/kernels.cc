#include "kernels/kernels.h"

#ifdef REVENANT_X86_KERNELS
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifdef REVENANT_ARM_KERNELS
#include <sys/auxv.h>
#endif
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.h"
#include "kernels/panels.h"
#include "kernels/tables.h"

namespace revenant {
namespace {

#ifdef REVENANT_X86_KERNELS
// Clang 14 knows no __builtin_cpu_supports("f16c").
bool has_f16c() {
  unsigned a, b, c = 0, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

// The machine has AMX for 8 bits and bf16, and the system lets this process use its tiles.
bool has_amx() {
  unsigned a, b, c, d;
  constexpr unsigned needed = 1u << 22 | 1u << 24 | 1u << 25;  // AMX-BF16, AMX-TILE, AMX-INT8
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & needed) != needed) return false;
  constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool granted = ::syscall(SYS_arch_prctl, request, tile_data) == 0;
  return granted;
}
#endif

const Kernels& choose() {
  if (const char* wanted = std::getenv("REVENANT_ISA"); wanted && *wanted) {
    if (const Kernels* table = kernels_for(wanted)) return *table;
    throw Error("kernels", "REVENANT_ISA",
                "generic, avx2, avx512, avx512vnni, avx512bf16, amx, neon or neondot, as this "
                "machine has them",
                wanted);
  }
  for (const char* isa : {"amx", "avx512bf16", "avx512vnni", "avx512", "avx2", "neondot", "neon"})
    if (const Kernels* table = kernels_for(isa)) return *table;
  return generic_kernels;
}

}  // namespace

const Kernels* kernels_for(const char* isa) {
  const std::string_view name = isa;
#ifdef REVENANT_X86_KERNELS
  __builtin_cpu_init();
  if (name == "avx2" && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      has_f16c())
    return &avx2_kernels;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  if (name == "avx512" && avx512) return &avx512_kernels;
  if (name == "avx512vnni" && vnni) return &avx512vnni_kernels;
  const bool bf16 = vnni && __builtin_cpu_supports("avx512bf16");
  if (name == "avx512bf16" && bf16) return &avx512bf16_kernels;
  if (name == "amx" && bf16 && has_amx()) return &amx_kernels;
#endif
#ifdef REVENANT_ARM_KERNELS
  if (name == "neon") return &neon_kernels;
  if (name == "neondot" && (getauxval(AT_HWCAP) & HWCAP_ASIMDDP)) return &neondot_kernels;
#endif
  return name == "generic" ? &generic_kernels : nullptr;
}

size_t prepared_bytes(const Kernels& kernels, Input input, size_t k) {
  if (input == Input::int8) return k / unit_k * sizeof(Int8Block);
  if (input == Input::int8_rows) return int8_row_bytes(k);
  return k * (input == Input::bf16 ? kernels.brain_bytes : sizeof(float));
}

float number_in(const void* block, Format type, size_t d, BlockOf of, size_t row, size_t i) {
  const auto* bytes = static_cast<const std::byte*>(block);
  const size_t at = of == BlockOf::keys ? i * key_block + row : row * d + i;
  const auto half = [bytes](size_t byte) {
    uint16_t bits;
    std::memcpy(&bits, bytes + byte, sizeof bits);
    return bits;
  };
  if (type == Format::f32) return static_cast<const float*>(block)[at];
  if (type == Format::f16) return to_float_f16(half(2 * at));
  if (type == Format::bf16) return to_float_bf16(half(2 * at));
  const size_t scale = i / scale_run * key_block + row;
  return float(int8_t(bytes[at])) * to_float_f16(half(key_block * d + 2 * scale));
}

const Kernels& kernels() {
  static const Kernels& table = choose();
  return table;
}

}  // namespace revenant
