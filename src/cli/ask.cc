// revenant ask: many questions about the same pictures, answered together.
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/program.h"
#include "engine/engine.h"

namespace revenant {
namespace {

struct Args {
  SpeakArgs speak;
  Path questions;
  bool json = false;
};

// One a line; lines without any are left out.
std::vector<std::string> read_questions(const Path& file) {
  std::vector<std::string> questions;
  std::ifstream opened;
  if (file != "-") opened.open(file);
  std::istream& in = file == "-" ? std::cin : opened;
  if (!in) throw Error("ask", file.string(), "a file of questions", "none that can be read");
  for (std::string line; std::getline(in, line);) {
    while (line.ends_with('\r') || line.ends_with(' ')) line.pop_back();
    if (!line.empty()) questions.push_back(line);
  }
  if (questions.empty()) throw Error("ask", file.string(), "a question a line", "none");
  return questions;
}

Pictures encode(const Model& model, const SpeakArgs& args) {
  std::vector<Image> images;
  for (const Path& picture : args.images) images.push_back(read_image(picture, args.reading));
  return model.encode(images, [] { return caught_signal() == 0; });
}

Request request_for(const Model& model, const Args& args, const Pictures& pictures,
                    const std::string& question, size_t number) {
  const Speech& speech = model.speech();
  const revenant::Turn turn{question, int(pictures.tokens.size()), ""};
  const EncodedPrompt prompt = encode_prompt(speech.tokenizer, speech.rule,
                                             chat_pieces(speech.rule, {&turn, 1}), pictures.tokens);
  GenerateOptions options;
  options.sampling = args.speak.sampling;
  options.sampling.seed += number;
  options.beams = args.speak.beams;
  options.max_new_tokens = room_for_answer(args.speak, int(prompt.ids.size()));
  options.stop_ids = speech.stop_ids;
  options.speech = &speech;
  options.go_on = [] { return caught_signal() == 0; };
  return {nullptr, {prompt.ids.begin(), prompt.ids.end()}, pictures.features, options, true};
}

// A line for the question, then the answer and an empty line.
std::string text_of(const std::string& question, const std::string& answer) {
  return "> " + question + "\n" + answer + "\n\n";
}

class Answers {
 public:
  Answers(const Model& model, const Args& args, std::vector<std::string> questions)
      : model_(model), args_(args), questions_(std::move(questions)), made_(questions_.size()) {}

  void run(const Pictures& pictures) {
    Engine engine(model_, {.prefixes = true});
    std::vector<Engine::Ticket> tickets;
    for (size_t i = 0; i < questions_.size(); ++i)
      tickets.push_back(engine.submit(request_for(model_, args_, pictures, questions_[i], i)));
    Progress progress("ask", "answers");
    size_t done = 0;
    for (bool more = true; more;) {
      more = engine.step();
      for (size_t i = 0; i < tickets.size(); ++i)
        if (auto result = engine.result(tickets[i])) made_[i] = std::move(result), ++done;
      progress.show(done, tickets.size());
      tell();
    }
  }

  nlohmann::json json() const {
    nlohmann::json all = nlohmann::json::array();
    for (size_t i = 0; i < questions_.size(); ++i) {
      const Generated& made = *made_[i];
      nlohmann::json one = {{"question", questions_[i]},
                            {"answer", answer(made)},
                            {"finish", name_of(made.finish_reason)},
                            {"prompt_tokens", made.timings.prompt_tokens},
                            {"tokens", made.ids.size()}};
      if (made.failure) one["error"] = made.failure->what();
      all.push_back(one);
    }
    return {{"answers", all}};
  }
  size_t tokens() const {
    size_t sum = 0;
    for (const auto& made : made_) sum += made->ids.size();
    return sum;
  }
  size_t failed() const {
    return size_t(std::ranges::count_if(made_, [](const auto& one) { return bool(one->failure); }));
  }

 private:
  std::string answer(const Generated& made) const {
    return filter_output(model_.speech().rule, made.text);
  }
  // Answers as they come, in the order of the questions.
  void tell() {
    for (; told_ < made_.size() && made_[told_]; ++told_) {
      const Generated& made = *made_[told_];
      if (made.failure)
        std::fprintf(stderr, "revenant: %s: %s\n", questions_[told_].c_str(), made.failure->what());
      if (args_.json || made.failure || made.finish_reason == Finish::cancelled) continue;
      const std::string text = text_of(questions_[told_], answer(made));
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
    }
  }

  const Model& model_;
  const Args& args_;
  const std::vector<std::string> questions_;
  std::vector<std::optional<Generated>> made_;
  size_t told_ = 0;
};

void ask(const Args& args) {
  const std::vector<std::string> questions = read_questions(args.questions);
  const Model model(args.speak.model.directory, args.speak.model.options);
  tell_warnings(model.warnings());
  model.speech();
  catch_signals();
  const Stopwatch watch;
  Answers answers(model, args, questions);
  try {
    answers.run(encode(model, args.speak));
  } catch (const Stopped&) {
    exit_if_signalled();
  }
  const double took = watch.seconds();
  if (args.json) std::puts(json_text(answers.json(), 1).c_str());
  if (args.speak.verbose)
    std::fprintf(stderr,
                 "%zu answers, %zu tokens, %.3f s (%.3f answers/s); cache: %.1f MB at most\n",
                 questions.size(), answers.tokens(), took, double(questions.size()) / took,
                 double(model.pages()->most()) / 1e6);
  exit_if_signalled();
  if (const size_t failed = answers.failed())
    throw Error("ask", "questions", "answers to all", std::to_string(failed) + " failed");
}

}  // namespace

void add_ask(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command =
      app.add_subcommand("ask", "Answers many questions about the same pictures together");
  add_speak_options(*command, args->speak);
  add_search_options(*command, args->speak);
  command->add_option("--questions", args->questions, "file with a question a line; \"-\": stdin")
      ->required()
      ->transform(at_home);
  command->add_flag("--json", args->json, "all answers as JSON at the end, in place of text");
  command->footer(
      "What the prompts begin with, pictures included, is computed once. Each answer is what "
      "`run`\n"
      "gives for its question alone; with --temp the seed grows by one a question.\n"
      "Example: revenant ask -m MODEL --image cat.jpg --questions questions.txt --json");
  command->callback([args] { ask(*args); });
}

}  // namespace revenant
