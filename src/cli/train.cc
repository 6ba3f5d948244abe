// revenant train, sweep, and whatever else needs libtorch: the other program takes over.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"

namespace revenant {
namespace {

Path train_program() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "revenant-train";
}

Error missing(const Path& program) {
  return {"cli", program.string(),
          "missing beside revenant. Build the release preset (cmake --preset release && cmake "
          "--build --preset release) and use its revenant"};
}

// The words of this process's command line.
std::vector<std::string> own_arguments() {
  std::vector<std::string> words;
  std::FILE* file = std::fopen("/proc/self/cmdline", "rb");
  if (!file) throw Error("cli", "/proc/self/cmdline", "cannot open");
  std::string word;
  for (int c; (c = std::fgetc(file)) != EOF;) {
    if (c != 0) {
      word += char(c);
      continue;
    }
    words.push_back(std::move(word));
    word.clear();
  }
  std::fclose(file);
  return words;
}

bool asks_for_help() {
  return std::ranges::any_of(
      own_arguments(), [](const std::string& word) { return word == "-h" || word == "--help"; });
}

// revenant-train has the help, if it is there.
void by_train(const char* usage) {
  const Path program = train_program();
  if (std::filesystem::exists(program) || !asks_for_help()) become_train();
  std::printf("%s\n", usage);
  std::fprintf(stderr, "revenant: %s\n", missing(program).what());
}

void add_stub(CLI::App& app, const char* name, const char* what, const char* usage) {
  CLI::App* command = app.add_subcommand(name, what);
  command->set_help_flag();  // revenant-train has the help
  command->prefix_command();
  command->callback([usage] { by_train(usage); });
}

}  // namespace

void become_train() {
  const Path program = train_program();
  if (!std::filesystem::exists(program)) throw missing(program);
  std::vector<std::string> words = own_arguments();
  words.at(0) = program.string();
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  ::setenv("OMP_WAIT_POLICY", "passive", 0);  // spinning threads cost a factor of ten on busy cores
  ::execv(program.c_str(), pointers.data());
  throw Error("cli", program.string(), "a program that runs", std::strerror(errno));
}

void add_train(CLI::App& app) {
  add_stub(app, "train", "Trains from a recipe (by revenant-train)",
           "Trains from a recipe (docs/training.md)\n"
           "Usage: revenant train RECIPE [--set key=value]...");
}

void add_sweep(CLI::App& app) {
  add_stub(app, "sweep", "Trains and measures variants of a recipe (by revenant-train)",
           "Trains and measures many variants of a recipe, several seeds each (docs/training.md)\n"
           "Usage: revenant sweep FILE [--table]");
}

}  // namespace revenant
