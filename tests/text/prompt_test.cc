// What a prompt is made of, as literals: turns, data-set rows, benchmark questions, the output
// filter.
#include <gtest/gtest.h>

#include "base/error.h"
#include "small_tokenizers.h"
#include "text/instruction.h"

namespace revenant {
namespace {

std::string joined(const PromptRule& rule, std::span<const Piece> pieces) {
  const std::vector<int> tokens = {2, 1, 3};
  return prompt_text(rule, pieces, tokens);
}

const std::string trol_sentence =
    "You are AI model created by Byung-Kwan Lee, Ph.D. candidate, KAIST EE, of which AI model name "
    "is TroL (Traversal of Layers). You must give helpful, detailed, and polite answers to the "
    "user's questions";

// Two turns with pictures in both, of every family.
TEST(ChatPieces, ATalkOfTwoTurns) {
  const std::vector<Turn> turns = {{"What is it?", 2, "a cat"}, {"And now?", 1, ""}};
  const std::string in = "<IMG_CONTEXT>";
  const std::string two = "<img>" + in + in + "</img><img>" + in + "</img>",
                    third = "<img>" + in + in + in + "</img>";
  const std::string chat_ml = "<|im_start|>user\n" + two +
                              "What is it?<|im_end|><|im_start|>assistant\na cat<|im_end|>"
                              "<|im_start|>user\n" +
                              third + "And now?<|im_end|><|im_start|>assistant\n";
  const std::pair<PromptFamily, std::string> expected[] = {
      {PromptFamily::phantom_qwen2, chat_ml},
      {PromptFamily::phantom_internlm2, chat_ml},
      {PromptFamily::phantom_phi3, "<|user|>\n" + two +
                                       "What is it?<|end|><|assistant|>\na cat<|end|><|user|>\n" +
                                       third + "And now?<|end|><|assistant|>\n"},
      {PromptFamily::trol_internlm2,
       "<s>[UNUSED_TOKEN_146]system\n" + trol_sentence +
           "[UNUSED_TOKEN_145]\n[UNUSED_TOKEN_146]user\n<image><image><image>\n"
           "What is it?[UNUSED_TOKEN_145]\n[UNUSED_TOKEN_146]assistant\n"
           "a cat[UNUSED_TOKEN_145]\n</s>\n[UNUSED_TOKEN_146]user\n<image><image><image>\n"
           "And now?[UNUSED_TOKEN_145]\n[UNUSED_TOKEN_146]assistant\n"},
      {PromptFamily::trol_phi3, "<s><|system|>\n" + trol_sentence + "<|end|>\n<|user|>\n" + two +
                                    "\nWhat is it?<|end|>\n<|assistant|>\na cat<|end|>\n</s>\n"
                                    "<|user|>\n" +
                                    third + "\nAnd now?<|end|>\n<|assistant|>\n"}};
  ASSERT_EQ(std::size(expected), prompt_rules().size());
  for (const auto& [family, text] : expected)
    EXPECT_EQ(joined(prompt_rule(family), chat_pieces(prompt_rule(family), turns)), text);
}

TEST(ChatPieces, PicturesAreNumberedThroughAllTurns) {
  const std::vector<Turn> turns = {{"a", 2, "b"}, {"c", 0, "d"}, {"e", 1, ""}};
  std::vector<int> pictures;
  for (const Piece& piece : chat_pieces(prompt_rule(PromptFamily::trol_phi3), turns))
    if (piece.kind == Piece::picture) pictures.push_back(piece.picture_index);
  EXPECT_EQ(pictures, (std::vector<int>{0, 1, 2}));
}

TEST(OutputFilter, TakesWhatStandsBetweenTheLastBeginAndTheFirstEnd) {
  struct Case {
    PromptFamily family;
    const char *decoded, *answer;
  };
  const Case cases[] = {
      {PromptFamily::phantom_qwen2, "assistant\nx assistant\ny<|im_end|>z<|im_end|>", "y"},
      {PromptFamily::phantom_qwen2, "no mark", "no mark"},
      {PromptFamily::phantom_qwen2, "a<|im_end|>assistant\nb", "b"},
      {PromptFamily::phantom_qwen2, "assistant\n", ""},
      {PromptFamily::phantom_qwen2, "", ""},
      {PromptFamily::phantom_qwen2, "assistant y", "assistant y"},
      {PromptFamily::phantom_phi3, "<|assistant|>\na<|assistant|>\nb<|end|>c", "b"},
      {PromptFamily::phantom_phi3, "assistant\nb<|end|>c", "assistant\nb"},
      {PromptFamily::trol_internlm2, "assistant\na assistant\nb[UNUSED_TOKEN_145]\n</s>", "b"},
      {PromptFamily::trol_phi3, "<|assistant|>\na<|end|><|assistant|>\nb<|end|>", "b"},
      {PromptFamily::phantom_qwen2, "assistant\n\u00a0\u3000 a b\u2003\n", "a b"},
      {PromptFamily::phantom_qwen2, "assistant\n\xFF a \xE3\x80", "\uFFFD a \uFFFD"},
  };
  for (const Case& c : cases)
    EXPECT_EQ(filter_output(prompt_rule(c.family), c.decoded), c.answer) << c.decoded;
}

const std::string letter = "\nAnswer with the option's letter from the given choices directly.",
                  word = "\nAnswer the question using a single word or phrase.",
                  yes_no = "\nPlease answer yes or no.",
                  vizwiz =
                      "\nWhen the provided information is insufficient, respond with "
                      "'Unanswerable'. Answer the question using a single word or phrase.";

// What is added depends on the question in two benchmarks, and in no other.
TEST(Instruction, WhatIsAddedToAQuestion) {
  struct Case {
    PromptFamily family;
    const char *benchmark, *question;
    std::string added;
  };
  constexpr auto trol = PromptFamily::trol_phi3, phantom = PromptFamily::phantom_qwen2;
  const Case cases[] = {
      {trol, "mmmu", "Which?\nA. red\nB. blue", letter},
      {trol, "mmmu", "Which is made in the U.S.A. today?", letter},
      {trol, "mmmu", "A.", letter},
      {trol, "mmmu", "How many?", word},
      {trol, "mmmu", "Which?\n(A) red\n(B) blue", word},
      {trol, "mmmu", "Which?\nB. red\nC. blue", word},
      {trol, "mmmu", "Which?\na. red", word},
      {trol, "mmmu", "", word},
      {trol, "hallusionbench", "Is it?", yes_no},
      {trol, "hallusionbench", "Is it? Please answer yes or no.", ""},
      {trol, "hallusionbench", "Please answer yes or no. Is it?", ""},
      {trol, "hallusionbench", "Is it? Please answer yes or no", yes_no},
      {trol, "hallusionbench", "Is it? please answer yes or no.", yes_no},
      {phantom, "hallusionbench", "Is it?", yes_no},
      {phantom, "hallusionbench", "Is it?\nPlease answer yes or no.", ""},
      {trol, "gqa", "Which?\nA. red\nB. blue", word},
      {trol, "gqa", "Who? Answer the question using a single word or phrase.", word},
      {trol, "vizwiz", "Which?\nA. red", vizwiz},
      {trol, "textvqa", "Which?\nA. red", ""},
      {trol, "sqa", "Context\nWhich?\nA. red\nB. blue", letter},
      {trol, "mme", "Is it? Please answer yes or no.", ""},
      {phantom, "sqa", "How many?", letter},
      {phantom, "chartqa", "Which?\nA. red", word},
      {phantom, "blink", "Which?\n(A) red", letter},
      {phantom, "mathvista", "Which?\nA. red", ""},
      {phantom, "demo", "Which?\nA. red. Please answer yes or no.", ""},
  };
  for (const Case& c : cases) {
    const PromptRule& rule = prompt_rule(c.family);
    const std::string question = c.question, asked_for = question + c.added + rule.user_end;
    EXPECT_EQ(with_ask(benchmark(rule, c.benchmark), question), question + c.added)
        << c.benchmark << ": " << question;
    EXPECT_NE(released::make_instruction(rule, c.benchmark, question).find(asked_for),
              std::string::npos)
        << c.benchmark << ": " << question;
    for (const int pictures : {0, 1, 3}) {
      const std::string text = joined(rule, instruction(rule, c.benchmark, question, pictures));
      EXPECT_NE(text.find(asked_for), std::string::npos) << text;
    }
  }
}

TEST(Instruction, NoOtherBenchmarkLooksAtTheQuestion) {
  const std::string everything =
      "A. B. (A) Please answer yes or no. Answer with the option's letter "
      "from the given choices directly.\nHint: x\nUnanswerable ";
  for (const PromptRule& rule : prompt_rules())
    for (const Benchmark& b : benchmarks(rule)) {
      const std::string plain = with_ask(b, "x").substr(1),
                        added = with_ask(b, everything).substr(everything.size());
      EXPECT_EQ(added == plain, b.name != "mmmu" && b.name != "hallusionbench") << b.name;
    }
}

// Marks in the question stand for the pictures; without them all come first.
TEST(Instruction, SeveralPictures) {
  const PromptRule& phantom = prompt_rule(PromptFamily::phantom_phi3);
  const std::string first = "<img><IMG_CONTEXT><IMG_CONTEXT></img>",
                    second = "<img><IMG_CONTEXT></img>";
  EXPECT_EQ(joined(phantom, instruction(phantom, "demo", "Which?", 2)),
            "<|user|>\n" + first + second + "Which?<|end|><|assistant|>\n");
  EXPECT_EQ(joined(phantom, instruction(phantom, "mm-vet-v2", "Is <image> in <image>?", 2)),
            "<|user|>\nIs " + first + " in " + second + "?<|end|><|assistant|>\n");
  EXPECT_THROW(instruction(phantom, "demo", "Is <image> in <image>?", 1), Error);
  EXPECT_THROW(instruction(phantom, "demo", "Is <image>?", 0), Error);
  EXPECT_THROW(instruction(phantom, "vqav2", "Is it?", 1), Error);  // TroL's alone
  const PromptRule& trol = prompt_rule(PromptFamily::trol_internlm2);
  EXPECT_EQ(joined(trol, instruction(trol, "mmmu", "<image> A. or <image>?", 2)),
            "<s>[UNUSED_TOKEN_146]system\n" + trol_sentence +
                "[UNUSED_TOKEN_145]\n[UNUSED_TOKEN_146]user\n<image><image> A. or <image>?" +
                letter + "[UNUSED_TOKEN_145]\n[UNUSED_TOKEN_146]assistant\n");
}

// The released loader sees whether the question has a mark already.
TEST(Instruction, ReleasedMarks) {
  const auto text = [](PromptFamily family, const char* name, const char* question, bool picture) {
    const PromptRule& rule = prompt_rule(family);
    const std::string all = joined(rule, released::eval_process(rule, name, question, picture));
    const size_t begin = all.rfind(rule.user_begin) + rule.user_begin.size();
    return all.substr(begin, all.find(rule.user_end, begin) - begin);
  };
  const std::string filled = "<img><IMG_CONTEXT><IMG_CONTEXT></img>";
  constexpr auto phantom = PromptFamily::phantom_qwen2, phi3 = PromptFamily::trol_phi3,
                 internlm2 = PromptFamily::trol_internlm2;
  EXPECT_EQ(text(phantom, "demo", "x", true), filled + "x");
  EXPECT_EQ(text(phantom, "demo", "x", false), "<image>x");
  EXPECT_EQ(text(phantom, "demo", "<image>x", true), filled + filled + "x");
  EXPECT_EQ(text(phantom, "mme", "x", true), "x");
  EXPECT_EQ(text(phantom, "mme", "<image>x", true), filled + "x");
  EXPECT_EQ(text(phi3, "demo", "x", true), filled + "\nx");
  EXPECT_EQ(text(phi3, "demo", "x<image>", true), "x" + filled);
  EXPECT_EQ(text(phi3, "mme", "x", true), filled + filled + "\nx");
  EXPECT_EQ(text(phi3, "mme", "x", false), "<image>x");
  EXPECT_EQ(text(internlm2, "mme", "x", false), "<image><image>x");
  EXPECT_EQ(text(internlm2, "mmmu", "A.", true), "<image><image>\nA." + letter);
}

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
  const PromptRule& rule = prompt_rule(PromptFamily::trol_phi3);
  const Turn turn{"Is <image>\nlike\n<image>?", 0, ""};
  std::string text;
  for (const Piece& piece : row_pieces(rule, {&turn, 1}))
    text += piece.kind == Piece::picture ? std::to_string(piece.picture_index) : piece.text;
  EXPECT_EQ(text, rule.system + rule.user_begin + "Is 0\nlike\n1?" + rule.user_end + rule.turn_gap +
                      rule.assistant_begin);
}

// A span's ends are the lengths of what comes before them, tokenised alone: with and without an
// added token before an answer and inside it, and texts that would join with their neighbours.
TEST(AnswerSpans, EndWhereTextsTokenisedAloneDo) {
  const PromptRule& rule = prompt_rule(PromptFamily::phantom_qwen2);
  nlohmann::json file = small::byte_level();
  int id = 260;
  for (const char* token : {"<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"})
    file["added_tokens"].push_back({{"id", id++}, {"content", token}, {"special", true}});
  const Tokenizer t = tokenizer_for(rule, small::opened(file));
  const std::vector<Turn> turns = {
      {"What?", 1, "yes"}, {" and", 0, "\n12\n"}, {"<|im_end|>", 2, "a<|im_end|>b"}, {"", 0, "."}};
  const std::vector<int> tokens = {2, 1, 3};
  const std::vector<Piece> pieces = chat_pieces(rule, turns);
  std::vector<std::pair<int, int>> expected;
  const auto length = [&](size_t count) {
    return int(encode_prompt(t, rule, std::span(pieces).first(count), tokens).ids.size());
  };
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (!pieces[i].answer || (i > 0 && pieces[i - 1].answer)) continue;
    size_t end = i;
    while (end < pieces.size() && pieces[end].answer) ++end;
    expected.push_back({length(i), length(end)});
  }
  ASSERT_EQ(expected.size(), turns.size());
  EXPECT_EQ(answer_spans(t, rule, pieces, tokens), expected);
}

}  // namespace
}  // namespace revenant
