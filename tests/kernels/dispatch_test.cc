#include "kernels/guarded.h"

namespace revenant {
namespace {

EACH_TABLE(Dispatch);

TEST_P(Dispatch, IsNamedAfterItself) { EXPECT_EQ(kernels_for(table->isa), table); }

// The choice happens once a process, so each case dies in its own.
int isa_code(const char* wanted) {
  setenv("REVENANT_ISA", wanted, 1);
  try {
    return kernels_for(wanted) == &kernels() ? 0 : 1;
  } catch (const std::exception& error) {
    return std::string(error.what()).find(std::string("found ") + wanted) != std::string::npos ? 2
                                                                                               : 3;
  }
}

EACH_TABLE(DispatchDeathTest);

TEST_P(DispatchDeathTest, EnvironmentChooses) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(_exit(isa_code(table->isa)), testing::ExitedWithCode(0), "");
}

TEST(Tables, UnknownNamesHaveNone) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_NE(kernels_for("generic"), nullptr);
  EXPECT_EQ(kernels_for("sse9"), nullptr);
  EXPECT_EXIT(_exit(isa_code("sse9")), testing::ExitedWithCode(2), "");
}

}  // namespace
}  // namespace revenant
