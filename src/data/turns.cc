#include "data/turns.h"

#include <algorithm>

namespace revenant {

std::string without_image_marks(const std::string& text) {
  std::string rest;
  for (const Piece& piece : split_image_marks(text)) rest += piece.text;
  const size_t begin = std::min(rest.size(), rest.find_first_not_of('\n'));
  return rest.substr(begin, rest.find_last_not_of('\n') + 1 - begin);
}

std::vector<Turn> turns_of(std::span<const Row* const> rows) {
  std::vector<Turn> turns;
  for (const Row* row : rows) {
    const auto asked = [&](const std::string& question) {
      return row == rows.front() ? question : without_image_marks(question);
    };
    turns.push_back({asked(row->question), 0, row->answer});
    for (const Exchange& turn : row->later) turns.push_back({asked(turn.question), 0, turn.answer});
  }
  return turns;
}

EncodedTurns encode_turns(const Tokenizer& tokenizer, const PromptRule& rule,
                          std::span<const Turn> turns, std::span<const int> tokens_per_picture) {
  std::vector<Piece> pieces = row_pieces(rule, turns);
  EncodedPrompt prompt = encode_prompt(tokenizer, rule, pieces, tokens_per_picture);
  return {std::move(pieces), std::move(prompt)};
}

std::optional<Fault> too_long(int length, int max_length) {
  if (max_length == 0 || length <= max_length) return std::nullopt;
  return Fault{"", "at most " + std::to_string(max_length) + " tokens (max_length)",
               std::to_string(length)};
}

std::optional<Fault> answers_alike(const Row& row) {
  if (row.rejected != row.last_answer()) return std::nullopt;
  return Fault{"rejected", "another answer than the chosen one", "the same"};
}

std::string reason_of(const Fault& fault) {
  return "expected " + fault.expected + ", found " + fault.found;
}

}  // namespace revenant
