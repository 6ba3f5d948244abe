// Questions of the published benchmarks, phrased as the released code phrases them.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/prompt.h"

namespace revenant {

// What is done for one benchmark name: the sentence `ask` is added to the question, or `instead`
// where the question holds the text `if_held`, as it is spelt there.
struct Benchmark {
  std::string_view name;
  enum Ask { nothing, letter, word, yes_no, vizwiz } ask;
  int max_new_tokens;
  std::string_view if_held = {};  // empty: never
  Ask instead = nothing;
};

std::span<const Benchmark> benchmarks(const PromptRule& rule);
const Benchmark& benchmark(const PromptRule& rule, std::string_view name);  // throws Error
std::string with_ask(const Benchmark& benchmark, std::string_view question);

// The form that is meant, and runs: the benchmark's wording, each picture once, before the question
// unless the question has its own `<image>` marks, of which there must be `pictures` then.
std::vector<Piece> instruction(const PromptRule& rule, std::string_view benchmark,
                               std::string_view question, int pictures);

// The released strings, mistakes included (docs/prompts.md).
namespace released {

// make_instruction: the prompt before pictures are filled in.
std::string make_instruction(const PromptRule& rule, std::string_view benchmark,
                             std::string_view question);
// eval_process: the prompt for the tokenizer, as pieces. Every mark takes the one picture of the
// prompt, index 0; nothing if `picture` is false, but for InternLM2 TroL, which fills them anyway.
std::vector<Piece> eval_process(const PromptRule& rule, std::string_view benchmark,
                                std::string_view question, bool picture);
// The limit of generated tokens; throws Error where the released code does.
int max_new_tokens(const PromptRule& rule, std::string_view benchmark);

}  // namespace released
}  // namespace revenant
