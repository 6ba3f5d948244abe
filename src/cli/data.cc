// revenant data make: question-answer sets from pictures of package registries.
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/progress.h"
#include "cli/commands.h"
#include "data/make.h"

namespace revenant {
namespace {

struct Args {
  MakeOptions options;
  std::vector<std::string> sets;
  bool list = false;
};

// As named, else below the current directory, else where this program was built or installed.
Path fetch_script(const Path& named) {
  if (!named.empty()) return named;
  const Path bin = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  for (const Path& place : {Path("tools"), bin / "../../../tools", bin / "../share/revenant/tools"})
    if (std::filesystem::exists(place / "fetch_data.sh"))
      return std::filesystem::absolute(place / "fetch_data.sh");
  return {};
}

void make_one(const std::string& name, MakeOptions options) {
  if (dataset_complete(name, options)) {
    std::fprintf(stderr, "%s: complete already\n", name.c_str());
  } else {
    Progress progress("data " + name, "pictures");
    options.progress = [&](size_t done, size_t total, const std::string& label) {
      progress.show(done, total, label);
    };
    make_dataset(name, options);
  }
  std::printf("%s\n", (options.directory / name).c_str());
}

void make(Args& args) {
  if (args.list) {
    for (const std::string& name : dataset_names()) std::printf("%s\n", name.c_str());
    return;
  }
  args.options.fetch_script = fetch_script(args.options.fetch_script);
  for (const std::string& name : args.sets.empty() ? dataset_names() : args.sets)
    make_one(name, args.options);
}

}  // namespace

void add_data(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* data = app.add_subcommand("data", "Data sets");
  data->require_subcommand(1);
  CLI::App* command = data->add_subcommand("make", "Makes question-answer sets; none named: all");
  command->add_option("SET", args->sets, "names as in --list")
      ->check(CLI::IsMember(dataset_names()));
  command->add_option("-o,--output", args->options.directory, "folder of the sets")
      ->capture_default_str();
  command->add_option("--seed", args->options.seed, "of all choices")->capture_default_str();
  command->add_option("--limit", args->options.limit, "pictures a split at most; 0: all")
      ->capture_default_str();
  command
      ->add_option("--fetch-script", args->options.fetch_script,
                   "fetches the sources; else tools/fetch_data.sh")
      ->envname("REVENANT_FETCH_SCRIPT");
  command->add_flag("--list", args->list, "only names the sets");
  command->footer("Example: revenant data make easy-vqa fashion-mnist -o data");
  command->callback([args] { make(*args); });
}

}  // namespace revenant
