// Rows of data sets ask exactly what people ask.
#include "text/prompt.h"

#include <gtest/gtest.h>

namespace revenant {
namespace {

TEST(RowPieces, EqualWhatChatMakesOfTheSameQuestion) {
  for (const PromptRule& rule : prompt_rules()) {
    const std::vector<Turn> typed = {{"What is it?", 2, "a cat"}, {"And now?", 1, ""}};
    for (const std::string gap : {"", "\n", "\r\n"}) {
      const std::vector<Turn> rows = {
          {"<image>" + gap + "<image>" + gap + "What is it?", 0, "a cat"},
          {"<image>" + gap + "And now?", 0, ""}};
      EXPECT_EQ(row_pieces(rule, rows), chat_pieces(rule, typed)) << rule.name;
    }
    const std::vector<Turn> bare = {{"\nNo picture?", 0, ""}};
    EXPECT_EQ(row_pieces(rule, bare), chat_pieces(rule, bare)) << rule.name;
  }
}

TEST(RowPieces, MarksWithinTheTextStayWhereTheyAre) {
  const PromptRule& rule = prompt_rule("trol-phi3");
  const Turn turn{"Is <image>\nlike\n<image>?", 0, ""};
  std::string text;
  for (const Piece& piece : row_pieces(rule, {&turn, 1}))
    text += piece.kind == Piece::picture ? std::to_string(piece.picture_index) : piece.text;
  EXPECT_EQ(text, rule.system + rule.user_begin + "Is 0\nlike\n1?" + rule.user_end + rule.turn_gap +
                      rule.assistant_begin);
}

}  // namespace
}  // namespace revenant
