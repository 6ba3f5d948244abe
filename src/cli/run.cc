// revenant run: one question, one answer.
#include <cstdio>
#include <iostream>
#include <iterator>

#include "base/clock.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/conversation.h"

namespace revenant {
namespace {

struct Args {
  SpeakArgs speak;
  std::string prompt;
  bool prompt_given = false;
};

std::string read_prompt(const Args& args) {
  if (args.prompt_given) return args.prompt;
  std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  return text;
}

void run(const Args& args) {
  const Stopwatch watch;
  const Model model(args.speak.model.directory, args.speak.model.options);
  tell_warnings(model.warnings());
  model.speech();  // what is wrong with the tokenizer is said before any work is done
  if (args.speak.verbose) std::fprintf(stderr, "loading: %.3f s\n", watch.seconds());
  const std::string prompt = read_prompt(args);
  if (prompt.empty()) throw Error("run", "prompt", "text by -p or on stdin", "nothing");
  Conversation conversation(model, args.speak, true);
  conversation.show(args.speak.images);
  conversation.ask(prompt);
}

}  // namespace

void add_run(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app.add_subcommand("run", "Answers one question, about pictures or without");
  add_speak_options(*command, args->speak);
  add_search_options(*command, args->speak);
  const CLI::Option* prompt =
      command->add_option("-p,--prompt", args->prompt, "the question, plain text; else stdin");
  command->footer("Example: revenant run -m MODEL --image cat.jpg -p \"What is this?\"");
  command->callback([args, prompt] {
    args->prompt_given = prompt->count() > 0;
    run(*args);
  });
}

}  // namespace revenant
