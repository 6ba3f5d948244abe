// One program for all targets: FUZZ_TARGET=png fuzzer CORPUS... (tools/fuzz.sh).
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/targets.h"

namespace {

const revenant::fuzz::Target& chosen() {
  const char* name = std::getenv("FUZZ_TARGET");
  return revenant::fuzz::target(name ? name : "");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const revenant::fuzz::Target& target = chosen();
  revenant::fuzz::refusal(target, {reinterpret_cast<const char*>(data), size});
  return 0;
}
