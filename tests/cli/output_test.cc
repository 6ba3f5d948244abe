// Where output goes: links, full disks, closed pipes, directories, devices.
#include <gtest/gtest.h>

#include "cli/fixture.h"

namespace revenant {
namespace {

// /dev/full takes nothing: an answer that nobody got is no success.
TEST_F(Cli, AFullDiskIsAnError) {
  const Path data = Path(REVENANT_SOURCE_DIR) / "tests/conformance/data";
  const std::vector<Words> commands = {{"run", "-m", model_, "-n", "4", "-p", "hi"},
                                       {"chat", "-m", model_, "-n", "4"},
                                       {"tokenize", "-m", model_},
                                       {"inspect", "-m", model_},
                                       {"tiles", picture_},
                                       {"conformance", (data / "phantom-0.5b").string()},
                                       {"run", "--help"}};
  for (const Words& command : commands) {
    Words words = {"-c", "exec \"$0\" \"$@\" > /dev/full",
                   (Path(REVENANT_BIN_DIR) / "revenant").string()};
    words.insert(words.end(), command.begin(), command.end());
    const Outcome got = run_program(place_, words, "hello\n", "/bin/sh");
    EXPECT_EQ(got.code, 1) << command[0];
    EXPECT_EQ(got.err, "revenant: [cli] stdout: cannot write all of the output\n") << command[0];
  }
}

// The file that a link leads to is written, be it there or not; the link stays.
TEST_F(Cli, OutputGoesThroughLinks) {
  const Path golden = Path(REVENANT_SOURCE_DIR) / "tests/conformance/data/phantom-0.5b";
  const std::pair<Words, const char*> commands[] = {
      {{"tiles", picture_, "-o"}, "sheet.png"},
      {{"trace", "-m", golden.string(), "--inputs", (golden / "golden.safetensors").string(), "-o"},
       "trace.safetensors"}};
  for (const auto& [command, name] : commands) {
    const Path target = place_ / name, near = place_ / "near", far = place_ / "far";
    std::filesystem::create_symlink(target.filename(), near);
    std::filesystem::create_symlink(near, far);
    Words words = command;
    words.push_back(far.string());
    for (int time = 0; time < 2; ++time) {
      const Outcome got = run(words);
      EXPECT_EQ(got.code, 0) << got.err;
      EXPECT_TRUE(std::filesystem::is_symlink(far) && std::filesystem::is_symlink(near));
      EXPECT_GT(std::filesystem::file_size(target), 0u);
    }
    std::filesystem::remove(near);
    std::filesystem::create_symlink(far, near);
    expect_failure(words, "links that go round");
    std::filesystem::remove(near);
    std::filesystem::remove(far);
  }
}

// With a shell's words after the program, which is "$0".
Outcome shell(const Path& place, const std::string& script, const Words& arguments,
              const std::string& input = "") {
  Words words = {"-c", script, (Path(REVENANT_BIN_DIR) / "revenant").string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return run_program(place, words, input, "/bin/sh");
}

TEST_F(Cli, FilesThatCannotBeWrittenAreNamed) {
  const std::string directory = (place_ / "model").string();
  expect_failure({"tiles", picture_, "-o", directory}, "model: cannot open: Is a directory");
  expect_failure({"tiles", picture_, "-o", "/dev/full"}, "/dev/full: cannot write: No space");
  expect_failure({"tiles", picture_, "-o", picture_ + "/x.png"}, "Not a directory");
  expect_failure({"view", "-m", model_, "-n", "2", "-p", "x", "-o", "/dev/full"}, "/dev/full");
  expect_failure({"synth", "--arch", "phantom-0.5b", "-o", picture_}, "picture.png");
  expect_failure({"synth", "--arch", "phantom-0.5b", "-o", directory}, "empty directory");
  EXPECT_EQ(run({"tiles", picture_, "-o", "/dev/null"}).code, 0);
  for (const auto& entry : std::filesystem::directory_iterator(place_))
    EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
}

TEST_F(Cli, AModelIsADirectory) {
  for (const char* command : {"run", "chat", "inspect", "tokenize"}) {
    expect_failure({command, "-m", picture_}, "picture.png");
    expect_failure({command, "-m", (place_ / "none").string()}, "none");
  }
}

// Nobody reads on: the program ends, by the signal's code, and says nothing.
TEST_F(Cli, ABrokenPipeEndsIt) {
  std::string lines;
  for (int i = 0; i < 100'000; ++i) lines += "what is it\n";
  const Outcome got = shell(place_, "{ \"$0\" \"$@\"; echo \"code $?\" >&2; } | head -n 1",
                            {"tokenize", "-m", model_}, lines);
  EXPECT_EQ(std::count(got.out.begin(), got.out.end(), '\n'), 1);
  EXPECT_EQ(got.err, "code 141\n");
  const Outcome ignored =
      shell(place_, "trap '' PIPE; { \"$0\" \"$@\"; echo \"code $?\" >&2; } | head -n 1",
            {"tokenize", "-m", model_}, lines);
  EXPECT_NE(ignored.err.find("cannot write all of the output"), std::string::npos) << ignored.err;
}

// The numbers of closed streams are not taken by files that the program opens.
TEST_F(Cli, ClosedStreams) {
  const std::string sheet = (place_ / "sheet.png").string();
  const Words tiles = {"tiles", picture_, "-o", sheet};
  ASSERT_EQ(run(tiles).code, 0);
  const std::string expected = read_file(sheet);
  for (const char* closed : {"<&-", ">&-", "2>&-", "<&- >&- 2>&-"}) {
    std::filesystem::remove(sheet);
    const Outcome got = shell(place_, std::string("exec \"$0\" \"$@\" ") + closed, tiles);
    EXPECT_EQ(got.code, std::string(closed).find(">&-") == 0 || closed[3] == ' ' ? 1 : 0) << closed;
    EXPECT_EQ(read_file(sheet), expected) << closed;
  }
  const auto made = [&](const char* name, const std::string& script) {  // with a bar on stderr
    const std::string directory = (place_ / name).string();
    EXPECT_EQ(shell(place_, script,
                    {"synth", "--arch", "phantom-0.5b", "-t", "1", "-o", directory, "--config-set",
                     "llm_config.hidden_size=64", "--config-set", "llm_config.num_hidden_layers=1",
                     "--config-set", "llm_config.num_attention_heads=4", "--config-set",
                     "vision_config.num_hidden_layers=1"})
                  .code,
              0);
    return read_file(place_ / name / "model.safetensors");
  };
  EXPECT_TRUE(made("a", "exec \"$0\" \"$@\"") == made("b", "exec \"$0\" \"$@\" 2>&-"));
  const Outcome ask = shell(place_, "exec \"$0\" \"$@\" <&-", {"run", "-m", model_});
  EXPECT_EQ(ask.code, 1);
  EXPECT_NE(ask.err.find("text by -p or on stdin"), std::string::npos) << ask.err;
  EXPECT_EQ(shell(place_, "exec \"$0\" \"$@\" <&-", {"chat", "-m", model_}).code, 0);
}

// Shells leave a ~ after an = alone.
TEST_F(Cli, HomeInOptions) {
  const std::string script = "HOME=" + place_.string() + " exec \"$0\" \"$@\"";
  const Outcome got =
      shell(place_, script, {"tiles", "--model=~/model", "--output=~/sheet.png", "~/picture.png"});
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_TRUE(std::filesystem::exists(place_ / "sheet.png"));
  const Outcome asked = shell(
      place_, script, {"run", "--model=~/model", "--image=~/picture.png", "-n", "2", "-p", "~"});
  EXPECT_EQ(asked.code, 0) << asked.err;
}

// The words of the environment that other programs heed change nothing here.
TEST_F(Cli, OtherEnvironments) {
  const Words ask = {"run", "-m", model_, "-n", "8", "-p", "日本 what?"};
  const std::string expected = run(ask).out;
  for (const char* setting : {"LC_ALL=C", "LC_ALL=de_DE.ISO-8859-1", "LC_ALL=none", "NO_COLOR=1",
                              "TERM=dumb", "-u HOME", "COLUMNS=3"}) {
    const Outcome got = shell(place_, std::string("exec env ") + setting + " \"$0\" \"$@\"", ask);
    EXPECT_EQ(got.code, 0) << setting << got.err;
    EXPECT_EQ(got.out, expected) << setting;
    EXPECT_EQ(got.err, "") << setting;
  }
}

}  // namespace
}  // namespace revenant
