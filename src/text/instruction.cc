#include "text/instruction.h"

#include "base/error.h"

namespace revenant {
namespace {

using enum Benchmark::Ask;

constexpr std::string_view yes_or_no = "Please answer yes or no.";

constexpr Benchmark phantom_table[] = {
    {"demo", nothing, 256},
    {"sqa", letter, 5},
    {"ai2d", letter, 5},
    {"chartqa", word, 5},
    {"seed", letter, 5},
    {"seed-2-plus", letter, 5},
    {"pope", word, 5},
    {"hallusionbench", yes_no, 5, yes_or_no, nothing},
    {"mme", nothing, 5},
    {"mathvista", nothing, 512},
    {"mmbench", letter, 5},
    {"mmbench_cn", letter, 5},
    {"mmbench_dev", letter, 5},
    {"mmbench_cn_dev", letter, 5},
    {"qbench", letter, 5},
    {"mm-vet", nothing, 1024},
    {"mm-vet-v2", nothing, 1024},
    {"llava", nothing, 1024},
    {"llava_wilder", nothing, 1024},
    {"mmstar", letter, 5},
    {"mathverse", nothing, 512},
    {"blink", letter, 5},
    {"cvbench", letter, 5},
    {"visualwebbench", nothing, 512},
};

constexpr Benchmark trol_table[] = {
    {"demo", nothing, 512},
    {"vqav2", word, 5},
    {"gqa", word, 5},
    {"vizwiz", vizwiz, 512},
    {"textvqa", nothing, 5},
    {"mmmu", word, 5, "A.", letter},
    {"qbench", letter, 5},
    {"sqa", letter, 5},
    {"ai2d", letter, 5},
    {"chartqa", word, 5},
    {"seed", letter, 5},
    {"pope", word, 5},
    {"hallusionbench", yes_no, 5, yes_or_no, nothing},
    {"mme", nothing, 5},
    {"mathvista", nothing, 512},
    {"mmbench", letter, 5},
    {"mmbench_cn", letter, 5},
    {"mmbench_dev", letter, 5},
    {"mmbench_cn_dev", letter, 5},
    {"mm-vet", nothing, 1024},
    {"llava", nothing, 1024},
    {"mmstar", letter, 5},
    {"mathverse", nothing, 512},
    {"visualwebbench", nothing, 512},
};

std::string_view sentence(Benchmark::Ask ask) {
  switch (ask) {
    case letter:
      return "\nAnswer with the option's letter from the given choices directly.";
    case word:
      return "\nAnswer the question using a single word or phrase.";
    case yes_no:
      return "\nPlease answer yes or no.";
    case vizwiz:
      return "\nWhen the provided information is insufficient, respond with 'Unanswerable'. Answer "
             "the question using a single word or phrase.";
    case nothing:
      break;
  }
  return "";
}

// TroL's make_instruction puts a mark of its own before the question, but not for these.
bool marks_itself(const PromptRule& rule, std::string_view name) {
  if (!rule.trol) return name == "demo";
  return name != "demo" && name != "mmmu" && name != "mathverse" && name != "hallusionbench";
}

std::string framed(const PromptRule& rule, const std::string& question) {
  return rule.system + rule.user_begin + question + rule.user_end + rule.turn_gap +
         rule.assistant_begin;
}

}  // namespace

std::span<const Benchmark> benchmarks(const PromptRule& rule) {
  return rule.trol ? std::span<const Benchmark>(trol_table) : phantom_table;
}

const Benchmark& benchmark(const PromptRule& rule, std::string_view name) {
  for (const Benchmark& b : benchmarks(rule))
    if (b.name == name) return b;
  throw Error("prompt", rule.name, "a known benchmark", "'" + std::string(name) + "'");
}

std::string with_ask(const Benchmark& b, std::string_view question) {
  const bool held = !b.if_held.empty() && question.find(b.if_held) != question.npos;
  return std::string(question).append(sentence(held ? b.instead : b.ask));
}

std::vector<Piece> instruction(const PromptRule& rule, std::string_view name,
                               std::string_view question, int pictures) {
  std::vector<Piece> parts = split_image_marks(with_ask(benchmark(rule, name), question));
  int marks = 0;
  for (const Piece& part : parts) marks += part.kind == Piece::picture;
  if (marks > 0 && marks != pictures)
    throw Error("prompt", std::string(name), std::to_string(pictures) + " <image> marks",
                std::to_string(marks));
  if (marks == 0) {
    const Turn turn = {with_ask(benchmark(rule, name), question), pictures, ""};
    return chat_pieces(rule, {&turn, 1});
  }
  std::vector<Piece> pieces;
  if (!rule.system.empty()) pieces.push_back({Piece::template_text, rule.system, 0, false});
  for (Piece& part : turn_pieces(rule, std::move(parts))) pieces.push_back(std::move(part));
  return pieces;
}

namespace released {

std::string make_instruction(const PromptRule& rule, std::string_view name,
                             std::string_view question) {
  const std::string mark(marks_itself(rule, name) ? image_mark : "");
  return framed(rule, mark + with_ask(benchmark(rule, name), question));
}

std::vector<Piece> eval_process(const PromptRule& rule, std::string_view name,
                                std::string_view question, bool picture) {
  std::string asked(question);
  if (rule.trol && picture && asked.find(image_mark) == asked.npos)
    asked = std::string(image_mark).append("\n").append(asked);
  const std::string text = make_instruction(rule, name, asked);
  if (!picture && !rule.appends_context) return {{Piece::template_text, text, 0, false}};
  std::vector<Piece> pieces = split_image_marks(text, Piece::template_text);
  for (Piece& piece : pieces) piece.picture_index = 0;
  return pieces;
}

int max_new_tokens(const PromptRule& rule, std::string_view name) {
  const int tokens = benchmark(rule, name).max_new_tokens;
  if (!rule.trol && name == "demo") throw Error("prompt", std::string(name), "Check Data Name!");
  return tokens;
}

}  // namespace released
}  // namespace revenant
