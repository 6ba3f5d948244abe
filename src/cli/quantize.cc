// revenant quantize: one file from a model directory.
#include "engine/quantize.h"

#include <cstdio>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/program.h"

namespace revenant {
namespace {

struct Args {
  std::string directory, type, output;
  QuantizeOptions options;
};

// Interrupted, it leaves nothing: the file has a temporary name until it is whole.
void run(Args& args) {
  catch_signals();
  const QuantizeType& type = quantize_type(args.type);
  Progress progress(std::string("packing ") + type.name, "MB");
  args.options.on_progress = show_megabytes(progress);
  const Path file = through_links(args.output);
  quantize(args.directory, file, type, args.options);
  progress.finish();
  std::printf("%s\n", args.output.c_str());
}

std::string names_of_types() {
  std::string names;
  for (const QuantizeType& type : quantize_types())
    names += std::string(names.empty() ? "" : ", ") + type.name;
  return names;
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app.add_subcommand(
      "quantize", "Packs a model directory into one GGUF file, its weights in fewer bits");
  command->add_option("DIR", args->directory, "a Hugging Face model directory")
      ->required()
      ->transform(at_home);
  command->add_option("--type", args->type, "of most weights: " + names_of_types())->required();
  command->add_option("-o,--output", args->output, "the file to write")
      ->required()
      ->transform(at_home);
  command
      ->add_option("--config-set", args->options.settings,
                   "key=value over config.json, into the file; may repeat")
      ->allow_extra_args(false);
  command->add_flag("--portable", args->options.portable,
                    "weights in rows of blocks as ggml lays them out, which other programs read;\n"
                    "loading puts them in order. Without it they lie as the kernels read them");
  command
      ->add_option("--imatrix", args->options.importance,
                   "how much each input of a matrix matters, as `revenant imatrix` measures it:\n"
                   "errors are weighed by it (Q8_0 has no use for it)")
      ->type_name("FILE")
      ->transform(at_home);
  command
      ->add_option(
          "--match", args->options.match,
          "shell pattern over weights' names (blk.*.ffn_down.weight): only these take the\n"
          "type, the rest stays as stored; may repeat")
      ->allow_extra_args(false);
  command->add_flag_callback(
      "--tower-blocks", [args] { args->options.per_channel = false; },
      "a scale each 32 numbers in the tower too. Without it its matrices of 8 bits have one an\n"
      "output and meet inputs of one a row, which is faster, where the features of a test picture\n"
      "stay within a cosine of 0.999");
  command->add_option("-t,--threads", args->options.threads, "0: as many as the machine has")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->footer(
      "Norms, gates and mixers keep their numbers; tower, projector and the output matrix get "
      "more\n"
      "bits than the rest. The file holds configuration and tokenizer too: whatever takes a\n"
      "model directory takes it as well.\n"
      "Example: revenant quantize models/phantom-nano --type Q8_0 -o phantom-nano.gguf");
  command->callback([args] { run(*args); });
}

}  // namespace revenant
