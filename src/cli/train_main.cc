// revenant-train: the program that links libtorch. `revenant train ...` and every `--backend torch`
// replace themselves by it (execv), the way git finds its parts.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "base/error.h"
#include "base/progress.h"
#include "data/make.h"
#include "train/loop.h"

namespace revenant {
namespace {

// libgomp reads this when it is loaded, so the program starts itself again with it (packages.md: two
// spinning threads on a busy machine cost a factor of ten).
void wait_passively(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY")) return;
  ::setenv("OMP_WAIT_POLICY", "passive", 1);
  ::execv("/proc/self/exe", argv);
}

void make_missing_data(const Recipe& recipe) {
  for (const RecipeData& entry : recipe.data) {
    if (entry.make.empty() || std::filesystem::exists(entry.path)) continue;
    Progress progress("data " + entry.make, "pictures");
    MakeOptions options;
    options.directory = entry.path.parent_path().parent_path();
    options.fetch_script = "tools/fetch_data.sh";
    options.progress = [&](size_t done, size_t total, const std::string& label) {
      progress.show(done, total, label);
    };
    make_dataset(entry.make, options);
  }
}

int run(int argc, char** argv) {
  CLI::App app("Trains Phantom models. See docs/training.md for the keys of a recipe.", "revenant train");
  Path file;
  std::vector<std::string> settings;
  app.add_option("RECIPE", file, "YAML file")->required();
  app.add_option("--set", settings, "key=value: replaces what the recipe says; may repeat");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const Recipe recipe = read_recipe(file, settings);
  make_missing_data(recipe);
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int s) { stop_signal = s; });
  return train(recipe) ? 0 : 128 + stop_signal.load();
}

}  // namespace
}  // namespace revenant

int main(int argc, char** argv) {
  revenant::wait_passively(argv);
  try {
    return revenant::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "revenant-train: %s\n", error.what());
    return 1;
  }
}
