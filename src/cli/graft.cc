// revenant graft: a language model made to see.
#include "engine/graft.h"

#include <cstdio>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/program.h"

namespace revenant {
namespace {

struct Args {
  std::string backbone, tower, output;
  GraftOptions options;
};

void run(Args& args) {
  catch_signals();
  Progress progress("grafting", "MB");
  args.options.on_progress = show_megabytes(progress);
  const Graft told = graft(args.backbone, args.tower, through_links(args.output), args.options);
  progress.finish();
  for (const std::string& warning : told.warnings)
    std::fprintf(stderr, "revenant: %s\n", warning.c_str());
  std::string tokens;
  for (const std::string& token : told.tokens) tokens += " " + token;
  if (!tokens.empty()) std::fprintf(stderr, "added to the tokenizer:%s\n", tokens.c_str());
  std::printf("%s\n", args.output.c_str());
}

}  // namespace

void add_graft(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app.add_subcommand(
      "graft", "Gives a language model a tower, a projector and the papers' mechanisms");
  command
      ->add_option(
          "BACKBONE", args->backbone,
          "a text model (Llama, Qwen2, InternLM2, Phi-3): a Hugging Face directory or a GGUF\n"
          "file")
      ->required()
      ->transform(at_home);
  command
      ->add_option(
          "--tower", args->tower,
          "a Phantom or TroL with an InternViT, whose tower is taken; or a config.json, by\n"
          "whose vision_config a fresh one is made")
      ->required()
      ->transform(at_home);
  command->add_option("-o,--output", args->output, "directory to write; new or empty")
      ->required()
      ->transform(at_home);
  command->add_flag("--phantom", args->options.phantom, "with Phantom's mixers and gates");
  command->add_flag("--trol", args->options.trol, "with TroL's gate");
  command
      ->add_option("--config-set", args->options.settings,
                   "key=value over the new config.json (revenant.phantom_eta=1); may repeat")
      ->allow_extra_args(false);
  add_type_option(*command, "--dtype", args->options.dtype,
                  "of all weights; without it as the backbone has them, f32 where those are "
                  "quantised");
  command->add_option("-s,--seed", args->options.seed, "of what is fresh")->capture_default_str();
  command->footer(
      "Of a text the new model says what the backbone said; of pictures it knows nothing until it "
      "is\ntrained (docs/training.md).\n"
      "Example: revenant graft SmolLM2.gguf --tower models/phantom-nano --phantom -o seeing");
  command->callback([args] { run(*args); });
}

}  // namespace revenant
