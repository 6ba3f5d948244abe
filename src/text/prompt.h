// Prompts are made of pieces, so that what a user types can never become a template or a picture:
// special tokens come from template pieces only, pictures from picture pieces only.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/prompt_family.h"
#include "text/tokenizer.h"

namespace revenant {

// Where a picture stands in the texts of data sets and golden prompts; TroL's InternLM2 has it as
// a token, too.
constexpr std::string_view image_mark = "<image>";

struct Piece {
  enum Kind { template_text, picture, plain } kind = plain;
  std::string text;
  int picture_index = 0;  // which of the prompt's pictures, counted from 0
  bool answer = false;    // part of a training target

  bool operator==(const Piece&) const = default;
};

// How a family writes prompts; the table is in prompt.cc, its sources in docs/prompts.md.
struct PromptRule {
  PromptFamily family{};
  std::string name;    // name_of(family)
  std::string system;  // the whole system part, template text; empty: none
  std::string user_begin, user_end, assistant_begin, answer_end;
  std::string turn_gap;  // after the answer of an earlier turn and between the parts of one
  std::string picture_begin, picture_end, context_token;
  std::string after_pictures;    // between a turn's pictures and its question
  bool appends_context = false;  // the files lack the context token: it gets the id size()
  std::vector<std::string> stop_tokens;
  std::string answer_begin_mark, answer_end_mark;  // of the released output filter
  bool trol = false;                               // which table of benchmarks
};

const PromptRule& prompt_rule(PromptFamily family);
std::span<const PromptRule> prompt_rules();

// The tokenizer that a rule needs: with the context token if the rule appends it. Throws Error if
// a token that the rule uses is not in the vocabulary.
Tokenizer tokenizer_for(const PromptRule& rule, const Tokenizer& tokenizer);
std::vector<int32_t> stop_ids(const PromptRule& rule, const Tokenizer& tokenizer);
// Throws Error, naming `subject`, if the context token has another id than `context_id` (below 0:
// any will do) or the tokenizer has more than `rows` tokens.
void check_fit(const PromptRule& rule, const Tokenizer& tokenizer, int context_id, int rows,
               const std::string& subject);

struct Turn {
  std::string question;
  int pictures = 0;    // of chat_pieces; row_pieces counts the marks
  std::string answer;  // of the last turn: empty asks for one, else it is a training target
};

// Pictures are numbered through all turns and stand before their turn's question.
std::vector<Piece> chat_pieces(const PromptRule& rule, std::span<const Turn> turns);
// The same for turns of a data-set row, whose questions say with `<image>` marks where their
// pictures stand. Marks that a question begins with become what chat_pieces writes: the line breaks
// after them go, the template's own come.
std::vector<Piece> row_pieces(const PromptRule& rule, std::span<const Turn> turns);
// One turn whose question is made of pieces already.
std::vector<Piece> turn_pieces(const PromptRule& rule, std::vector<Piece> question,
                               const std::string& answer = "");

// Turns each image_mark of a data-set row or a golden prompt into a picture; the rest is `kind`.
std::vector<Piece> split_image_marks(std::string_view text, Piece::Kind kind = Piece::plain);

struct EncodedPrompt {
  std::vector<int32_t> ids;
  std::vector<std::pair<int, int>> picture_spans;  // context tokens of each picture: begin, end
};

// tokens_per_picture: by picture index (256 a tile, or 1225 for a CLIP picture). Text that is not
// split by a picture is tokenised as one, as the released code does.
EncodedPrompt encode_prompt(const Tokenizer& tokenizer, const PromptRule& rule,
                            std::span<const Piece> pieces, std::span<const int> tokens_per_picture);

// Token spans of the answers, counted as the released training code counts its labels: what the
// pieces before add up to is not a target.
std::vector<std::pair<int, int>> answer_spans(const Tokenizer& tokenizer, const PromptRule& rule,
                                              std::span<const Piece> pieces,
                                              std::span<const int> tokens_per_picture);

// The string that the released code would hand to its tokenizer.
std::string prompt_text(const PromptRule& rule, std::span<const Piece> pieces,
                        std::span<const int> tokens_per_picture);

// The released post-filter: after the last answer_begin_mark, before the first answer_end_mark,
// without white space around.
std::string filter_output(const PromptRule& rule, std::string_view decoded);

}  // namespace revenant
