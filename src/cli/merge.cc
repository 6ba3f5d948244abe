// revenant merge: a model and an adapter of it as one model.
#include "store/merge.h"

#include <cstdio>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/program.h"
#include "store/adapter.h"
#include "text/tokenizer_files.h"

namespace revenant {
namespace {

struct Args {
  std::string adapter, model, output;
  MergeOptions options;
};

void run(Args& args) {
  catch_signals();
  if (args.model.empty()) args.model = AdapterFiles::open(args.adapter).base();
  if (args.model.empty())
    throw Error("cli", "-m", "the model that the adapter was trained on", "none, here or in it");
  Progress progress("merging", "MB");
  args.options.on_progress = show_megabytes(progress);
  const Path output = through_links(args.output);
  merge_adapter(args.model, args.adapter, output, args.options);
  copy_tokenizer(args.model, output);
  progress.finish();
  std::printf("%s\n", args.output.c_str());
}

}  // namespace

void add_merge(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command =
      app.add_subcommand("merge", "Puts an adapter (LoRA) into the weights of its model");
  command
      ->add_option("ADAPTER", args->adapter,
                   "directory with adapter_config.json, of `train` or of PEFT")
      ->required()
      ->transform(at_home);
  command
      ->add_option("-m,--model", args->model,
                   "the model that it was trained on; without it what the adapter names")
      ->transform(at_home);
  command->add_option("-o,--output", args->output, "directory to write; new or empty")
      ->required()
      ->transform(at_home);
  add_type_option(*command, "--dtype", args->options.dtype,
                  "of the weights; without it as the model has them");
  command->add_option("-t,--threads", args->options.threads, "0: as many as the machine has")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->footer("Example: revenant merge runs/mine -m models/phantom-nano -o merged");
  command->callback([args] { run(*args); });
}

}  // namespace revenant
