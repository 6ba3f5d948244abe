// Tests of every table of kernels.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "kernels/kernels.h"

namespace revenant {

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
    "generic",    "avx2", "avx512", "avx512vnni",
    "avx512bf16", "amx"
#endif
};

#define EACH_TABLE(suite)                                    \
  struct suite : EachTable {};                               \
  INSTANTIATE_TEST_SUITE_P(, suite, testing::ValuesIn(isas), \
                           [](const auto& one) { return std::string(one.param); })

}  // namespace revenant
