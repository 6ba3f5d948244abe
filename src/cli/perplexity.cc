// revenant perplexity: how well a model foretells a text.
#include "eval/perplexity.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/program.h"

namespace revenant {
namespace {

struct Args {
  ModelArgs model;
  Path text;
  PerplexityOptions options;
  bool json = false;
};

void run(Args& args) {
  const std::string text = read_file(args.text);
  const Model model(args.model.directory, args.model.options);
  tell_warnings(model.warnings());
  // A language model alone may lack what prompts with pictures want.
  const Tokenizer tokenizer = Tokenizer::open(model.files().small());
  const std::vector<int32_t> ids = tokenizer.encode(text, Specials::as_text);
  catch_signals();
  args.options.go_on = [] { return caught_signal() == 0; };
  Progress progress("perplexity", "chunks");
  args.options.progress = [&](size_t done, size_t total) { progress.show(done, total); };
  Perplexity p;
  try {
    p = perplexity(model, ids, args.options);
  } catch (const Stopped&) {
    exit_if_signalled();
  }
  progress.finish();
  const double error = p.value() * p.deviation / std::sqrt(double(p.tokens));  // of the value
  if (args.json)
    std::printf("%s\n", json_text({{"perplexity", p.value()},
                                   {"standard_error", error},
                                   {"nll", p.mean},
                                   {"tokens", p.tokens},
                                   {"context", args.options.context}})
                            .c_str());
  else
    std::printf("perplexity %.4f +/- %.4f over %lld tokens\n", p.value(), error,
                (long long)(p.tokens));
}

}  // namespace

void add_perplexity(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app.add_subcommand("perplexity", "How well a model foretells a text");
  add_model_options(*command, args->model);
  command->add_option("FILE", args->text, "UTF-8 text")->required()->transform(at_home);
  command->add_option("-c,--context", args->options.context, "tokens of a chunk")
      ->check(CLI::Range(4, 1 << 20))
      ->capture_default_str();
  command->add_flag("--json", args->json, "the numbers as one JSON object");
  command->footer(
      "Counted as llama-perplexity does: in chunks that do not see each other, of each the second "
      "half.\n"
      "Example: revenant perplexity -m MODEL book.txt");
  command->callback([args] { run(*args); });
}

}  // namespace revenant
