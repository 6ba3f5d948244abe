// The built program: OpenAI's own client of Python against it, and every option of its.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace revenant {
namespace {

// What a program prints, and its exit status.
std::pair<std::string, int> output_of(const std::string& command) {
  std::string text;
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (!pipe) return {"", -1};
  for (char part[4096]; const size_t n = std::fread(part, 1, sizeof part, pipe);)
    text.append(part, n);
  return {text, ::pclose(pipe)};
}

void expect_well(const std::string& python, const std::string& script) {
  const auto [text, status] =
      output_of(python + " " REVENANT_SOURCE_DIR "/tests/serve/" + script +
                " " REVENANT_BIN_DIR "/revenant " REVENANT_SOURCE_DIR "/models/phantom-nano");
  EXPECT_EQ(status, 0) << text;
  EXPECT_NE(text.find("all well"), text.npos) << text;
}

const std::string python = REVENANT_SOURCE_DIR "/.venv/bin/python";
bool has_client() { return output_of(python + " -c 'import openai'").second == 0; }

TEST(OpenAiClient, AllThatItKnows) {
  if (!has_client()) GTEST_SKIP() << "no package openai in .venv (tools/install.sh test)";
  expect_well(python, "openai_client.py");
}

TEST(Program, LooksAsViewDoes) { expect_well("python3", "look.py"); }

// What of them wants OpenAI's client is left out where there is none.
TEST(Program, ExamplesWork) { expect_well(has_client() ? python : "python3", "examples.py"); }

TEST(Program, EveryOptionShows) { expect_well("python3", "options.py"); }

}  // namespace
}  // namespace revenant
