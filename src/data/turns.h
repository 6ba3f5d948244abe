// How rows become the token sequences that a model is trained on, and which of them are left out:
// one rule for training and for `revenant data check`. A sequence is never cut.
#pragma once

#include "data/row_form.h"
#include "text/prompt.h"

namespace revenant {

std::string without_image_marks(const std::string& text);  // and line breaks around what is left

// The turns of rows about the same pictures, which stand in the first row's turns only.
std::vector<Turn> turns_of(std::span<const Row* const> rows);

struct EncodedTurns {
  std::vector<Piece> pieces;
  EncodedPrompt prompt;
  int length() const { return int(prompt.ids.size()); }
};
EncodedTurns encode_turns(const Tokenizer& tokenizer, const PromptRule& rule,
                          std::span<const Turn> turns, std::span<const int> tokens_per_picture);

// Why a sequence, or a pair of answers, is left out; nothing: it is not. max_length 0: no bound.
std::optional<Fault> too_long(int length, int max_length);
std::optional<Fault> answers_alike(const Row& row);

// "expected X, found Y"
std::string reason_of(const Fault& fault);

}  // namespace revenant
