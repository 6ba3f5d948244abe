// revenant data: make, and check (data_check.cc); make: question-answer sets from pictures of
// package registries.
#include <cstdio>

#include "cli/commands.h"
#include "cli/make_set.h"
#include "cli/options.h"
#include "cli/program.h"

namespace revenant {
namespace {

struct Args {
  MakeOptions options;
  std::vector<std::string> sets;
  bool list = false;
};

void make_one(const std::string& name, const MakeOptions& options) {
  if (dataset_complete(name, options))
    std::fprintf(stderr, "%s: complete already\n", name.c_str());
  else
    make_set(name, options);
  std::printf("%s\n", (options.directory / name).c_str());
}

void make(Args& args) {
  if (args.list) {
    for (const std::string& name : dataset_names()) std::printf("%s\n", name.c_str());
    return;
  }
  for (const std::string& name : args.sets.empty() ? dataset_names() : args.sets)
    make_one(name, args.options);
}

}  // namespace

void add_data(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* data = app.add_subcommand("data", "Data sets");
  const char* example = "Example: revenant data make easy-vqa fashion-mnist -o data";
  data->footer(example);
  data->require_subcommand(1);
  CLI::App* command = data->add_subcommand("make", "Makes question-answer sets; none named: all");
  command->add_option("SET", args->sets, "names as in --list")
      ->check(CLI::IsMember(dataset_names()));
  command->add_option("-o,--output", args->options.directory, "folder of the sets")
      ->transform(at_home)
      ->capture_default_str();
  command->add_option("--seed", args->options.seed, "of all choices")
      ->check(whole_number(0))
      ->capture_default_str();
  command->add_option("--limit", args->options.limit, "pictures a split at most; 0: all")
      ->check(whole_number(0))
      ->capture_default_str();
  command
      ->add_option("--fetch-script", args->options.fetch_script,
                   "fetches the sources; else tools/fetch_data.sh where this program was built")
      ->envname("REVENANT_FETCH_SCRIPT")
      ->transform(at_home);
  command->add_flag("--list", args->list, "only names the sets");
  command->footer(example);
  command->callback([args] { make(*args); });
  add_data_check(*data);
}

}  // namespace revenant
