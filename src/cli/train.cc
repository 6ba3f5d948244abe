// revenant train, and whatever else needs libtorch: the other program takes over.
#include <unistd.h>

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

}  // namespace

void become_train() {
  const Path program =
      std::filesystem::read_symlink("/proc/self/exe").parent_path() / "revenant-train";
  std::vector<std::string> words = own_arguments();
  words.at(0) = program.string();
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  ::setenv("OMP_WAIT_POLICY", "passive", 0);  // spinning threads cost a factor of ten on busy cores
  ::execv(program.c_str(), pointers.data());
  throw Error("cli", program.string(), "the program that trains (build the release preset)",
              std::strerror(errno));
}

void add_train(CLI::App& app) {
  CLI::App* command = app.add_subcommand("train", "Trains from a recipe (by revenant-train)");
  command->set_help_flag();  // revenant-train has the help
  command->prefix_command();
  command->footer("Example: revenant train recipes/phantom-nano.yaml --set max_steps=100");
  command->callback([] { become_train(); });
}

}  // namespace revenant
