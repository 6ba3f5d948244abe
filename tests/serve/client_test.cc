// The built program: OpenAI's own client of Python against it, and every option of its.
#include <gtest/gtest.h>

#include <string>

#include "support/program.h"

namespace revenant {
namespace {

void expect_well(const std::string& python, const std::string& script) {
  const auto [text, status] =
      output_of(python + " " REVENANT_SOURCE_DIR "/tests/serve/" + script +
                " " REVENANT_BIN_DIR "/revenant " REVENANT_SOURCE_DIR "/models/phantom-nano 2>&1");
  EXPECT_EQ(status, 0) << text;
  EXPECT_NE(text.find("all well"), text.npos) << text;
}

bool has_client() { return output_of(venv_python + " -c 'import openai' 2>&1").second == 0; }

TEST(OpenAiClient, AllThatItKnows) {
  if (!has_client()) GTEST_SKIP() << "no package openai in .venv (tools/install.sh test)";
  expect_well(venv_python, "openai_client.py");
}

TEST(Program, LooksAsViewDoes) { expect_well("python3", "look.py"); }

// What of them wants OpenAI's client is left out where there is none.
TEST(Program, ExamplesWork) { expect_well(has_client() ? venv_python : "python3", "examples.py"); }

TEST(Program, EveryOptionShows) { expect_well("python3", "options.py"); }

}  // namespace
}  // namespace revenant
