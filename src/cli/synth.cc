// revenant synth: a checkpoint of a released size with random weights.
#include "engine/synth.h"

#include <cstdio>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/program.h"

namespace revenant {
namespace {

struct Args {
  std::string architecture;
  Path directory;
  SynthOptions options;
};

// Interrupted, it ends as after any failure: what it has written goes.
void run(Args& args) {
  catch_signals();
  const Released model = released(args.architecture);
  Progress progress("writing " + model.name, "MB");
  args.options.on_progress = show_megabytes(progress);
  synth(args.directory, model, args.options);
  progress.finish();
  std::printf("%s\n", args.directory.c_str());
}

}  // namespace

void add_synth(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app.add_subcommand(
      "synth", "Writes a model directory of a released size with random weights");
  command->add_option("--arch", args->architecture, "which of the released models")
      ->required()
      ->check(CLI::IsMember(released_names()));
  command->add_option("-o,--output", args->directory, "directory to write; new or empty")
      ->required()
      ->transform(at_home);
  add_type_option(*command, "--dtype", args->options.dtype, "else bf16");
  command->add_option("-s,--seed", args->options.seed, "of the weights")
      ->check(whole_number(0))
      ->capture_default_str();
  command->add_option("-t,--threads", args->options.threads, "0: as many as the machine has")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command
      ->add_option("--tokenizer", args->options.tokenizer,
                   "directory whose tokenizer files are copied; else made-up pieces of the same "
                   "layout")
      ->transform(at_home);
  command
      ->add_option("--config-set", args->options.settings,
                   "key=value over config.json, for a smaller model; may repeat")
      ->allow_extra_args(false);
  command->footer(
      "The weights are noise: good for trying size, speed and memory, not for answers.\n"
      "Example: revenant synth --arch phantom-7b -o build/phantom-7b");
  command->callback([args] { run(*args); });
}

}  // namespace revenant
