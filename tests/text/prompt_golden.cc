// The prompt strings of the released code, for all seven models.
#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "golden_files.h"
#include "prompt_texts.h"

namespace revenant {
namespace {

using golden::Json;

class PromptGolden : public golden::PromptTest {};

TEST_P(PromptGolden, RuleIsTheReleasedOne) {
  const Json& r = json["prompt_rule"];
  const auto text = [&](const char* key) { return r[key].get<std::string>(); };
  EXPECT_EQ(rule.user_begin, text("user_start"));
  EXPECT_EQ(rule.user_end, text("user_end"));
  EXPECT_EQ(rule.assistant_begin, text("assistant_start"));
  EXPECT_EQ(rule.answer_end, text("assistant_end"));
  EXPECT_EQ(rule.answer_begin_mark, text("test_start"));
  EXPECT_EQ(rule.answer_end_mark, text("test_end"));
  EXPECT_EQ(rule.turn_gap, text("split"));
  EXPECT_EQ(rule.context_token, json["image_token"].get<std::string>());
  if (!rule.system.empty()) {
    EXPECT_TRUE(rule.system.starts_with(text("system_start")));
    EXPECT_TRUE(rule.system.ends_with(text("system_end") + text("split")));
  }
}

TEST_P(PromptGolden, MakeInstruction) {
  std::set<std::string> names;
  for (const Json& r : part("make_instruction")) {
    const std::string data = r["data"], question = r["question"];
    EXPECT_EQ(released::make_instruction(rule, data, question), r["prompt"].get<std::string>());
    names.insert(data);
  }
  if (golden::other_folder()) return;
  EXPECT_EQ(names.size(), benchmarks(rule).size());
}

TEST_P(PromptGolden, EvalProcess) {
  for (const Json& r : part("eval_process")) {
    const std::string text = golden::released_text(rule, r, GetParam().tile);
    EXPECT_EQ(text, golden::expand(r["segments"])) << r["data"] << " " << r["case"];
    EXPECT_EQ(text.size(), r["length_chars"].get<size_t>());
  }
}

TEST_P(PromptGolden, MeantForm) {
  const int tile = GetParam().tile;
  int compared = 0;
  for (const Json& r : part("eval_process")) {
    if (!golden::is_meant(r)) {
      EXPECT_THROW(golden::meant_text(rule, r, tile), Error) << r["data"] << r["case"];
      continue;
    }
    const std::string text = golden::meant_text(rule, r, tile);
    const int tokens = golden::tokens_of(r, tile);
    const bool own = rule.context_token == image_mark;  // InternLM2 TroL: the mark is the token
    EXPECT_EQ(golden::count_of(rule.context_token, text), tokens) << r["data"] << r["case"];
    EXPECT_EQ(golden::count_of(image_mark, text), own ? tokens : 0) << r["data"] << r["case"];
    if (!golden::shows_each_picture_once(r, json["image_token"], tile)) continue;
    EXPECT_EQ(text, golden::expand(r["segments"])) << r["data"] << r["case"];
    ++compared;
  }
  if (golden::other_folder()) return;
  EXPECT_GT(compared, 0);
}

TEST_P(PromptGolden, MaxNewTokens) {
  for (const auto& [data, limit] : part("max_new_tokens").items()) {
    if (limit.is_number())
      EXPECT_EQ(released::max_new_tokens(rule, data), limit.get<int>()) << data;
    else
      EXPECT_THROW(released::max_new_tokens(rule, data), Error) << data;
  }
}

TEST_P(PromptGolden, OutputFiltering) {
  for (const Json& r : part("output_filtering"))
    EXPECT_EQ(filter_output(rule, r["decoded"].get<std::string>()), r["result"].get<std::string>());
}

// The records hold whole prompts: a question is what stands between the picture (Phantom's `demo`
// without one: its mark) and the end of the turn.
TEST_P(PromptGolden, BatchOfTwo) {
  const Json& batch = part("batch_of_two");
  if (IsSkipped()) return;
  for (const Json& segments : batch["prompts"]) {
    const std::string text = golden::expand(segments);
    const int count = golden::count_of(rule.context_token, text);
    const std::vector<int> tokens = {std::max(count, 1)};
    const std::vector<Piece> picture = {{Piece::picture, "", 0, false}};
    const std::string begin = rule.system + rule.user_begin +
                              (count > 0 ? prompt_text(rule, picture, tokens) + rule.after_pictures
                               : rule.trol ? ""
                                           : std::string(image_mark));
    ASSERT_TRUE(text.starts_with(begin)) << text;
    const std::string question =
        text.substr(begin.size(), text.find(rule.user_end, begin.size()) - begin.size());
    EXPECT_EQ(prompt_text(rule, released::eval_process(rule, "demo", question, count > 0), tokens),
              text);
  }
}

// TroL's training code is not released.
TEST_P(PromptGolden, TrainingSample) {
  if (rule.trol && !json.contains("training_sample")) return;
  const Json& r = part("training_sample");
  if (IsSkipped()) return;
  const golden::TrainingText text = golden::training_text(rule, r);
  EXPECT_EQ(text.all, r["prompt_and_answer"].get<std::string>());
  EXPECT_EQ(text.before_answer.size(),
            r["ignored_prefix_chars_if_one_token_per_char"].get<size_t>());
}

INSTANTIATE_TEST_SUITE_P(All, PromptGolden, golden::families(), testing::PrintToStringParamName());

// With the real vocabularies: pieces give the ids of the joined string, and count pictures right.
struct Fit {
  const char* set;
  PromptFamily rule;
};

class PromptIds : public testing::TestWithParam<Fit> {
 protected:
  void SetUp() override {
    const Path file = golden::tokenizers() / "files" / (std::string(GetParam().set) + ".json.gz");
    if (!std::filesystem::exists(file)) GTEST_SKIP() << "no tokenizer sets (REVENANT_TOKENIZERS)";
    write_file(directory.path / "tokenizer.json", golden::gunzip(file));
    tokenizer = tokenizer_for(rule, Tokenizer::open(directory.path));
  }
  std::vector<int32_t> joined(std::span<const Piece> pieces, std::span<const int> tokens) const {
    return tokenizer->encode(prompt_text(rule, pieces, tokens), Specials::as_tokens);
  }
  const PromptRule& rule = prompt_rule(GetParam().rule);
  golden::TemporaryDirectory directory;
  std::optional<Tokenizer> tokenizer;
};

TEST_P(PromptIds, EqualTheJoinedString) {
  const std::vector<std::vector<Turn>> chats = {
      {{"What is in the image?", 1, ""}},
      {{"  spaces around  ", 2, " A cat.\n"}, {"\n\nand then?", 0, "yes"}, {"말 e\u0301", 1, ""}},
      {{"", 1, "1"}},
      {{"no picture", 0, ""}}};
  const std::vector<int> tokens = {256, 1792, 7};
  for (const auto& chat : chats) {
    const auto pieces = chat_pieces(rule, chat);
    const EncodedPrompt prompt = encode_prompt(*tokenizer, rule, pieces, tokens);
    EXPECT_EQ(prompt.ids, joined(pieces, tokens));
    size_t pictures = 0;
    for (const Turn& turn : chat) pictures += size_t(turn.pictures);
    ASSERT_EQ(prompt.picture_spans.size(), pictures);
    for (size_t i = 0; i < pictures; ++i) {
      const auto [begin, end] = prompt.picture_spans[i];
      EXPECT_EQ(end - begin, tokens[i]);
      for (int k = begin; k < end; ++k)
        EXPECT_EQ(prompt.ids[size_t(k)], tokenizer->id_of(rule.context_token));
    }
  }
}

TEST_P(PromptIds, UsersSmuggleNothing) {
  std::string evil;
  for (int32_t id = 0; id < tokenizer->size(); ++id)
    if (tokenizer->is_special(id)) evil += " " + std::string(tokenizer->token_of(id)) + "\n";
  const std::vector<int> tokens = {3};
  // Also a token that starts in the template and would end in the text.
  for (const std::string& text : {evil, rule.context_token, rule.user_end + rule.assistant_begin}) {
    const Turn evil_turn{text, 1, ""}, plain_turn{"x", 1, ""};
    const auto count = [&](const Turn& turn) {
      const auto pieces = chat_pieces(rule, {&turn, 1});
      const auto ids = encode_prompt(*tokenizer, rule, pieces, tokens).ids;
      return std::count_if(ids.begin(), ids.end(),
                           [&](int32_t id) { return tokenizer->is_special(id); });
    };
    EXPECT_EQ(count(evil_turn), count(plain_turn)) << text;
  }
}

TEST_P(PromptIds, AnswersAreTheTail) {
  const std::vector<Turn> chat = {{"What?", 1, "A dog."}, {"Sure?", 0, "Yes."}};
  const std::vector<int> tokens = {4};
  const auto pieces = chat_pieces(rule, chat);
  const auto prompt = encode_prompt(*tokenizer, rule, pieces, tokens);
  const auto spans = answer_spans(*tokenizer, rule, pieces, tokens);
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[1].second, int(prompt.ids.size()));
  for (size_t i = 0; i < 2; ++i) {
    const auto [begin, end] = spans[i];
    const auto ids = std::span(prompt.ids).subspan(size_t(begin), size_t(end - begin));
    const std::string text = tokenizer->decode(ids, false);
    EXPECT_EQ(filter_output(rule, text), chat[i].answer);
  }
}

// By definition: a span's ends are the lengths of what comes before them, tokenised alone. Texts
// that would join with what stands before or after them are among these.
TEST_P(PromptIds, AnswersBeginAndEndWhereTextsTokenisedAloneDo) {
  const std::vector<std::string> texts = {"yes",    " yes", "\n\nyes\n", "e",      "\u0301",
                                          "12",     "  ",   "\n",        "\uB9D0", "<|im_end|>",
                                          "user\n", "</s>", "."};
  Random random(3);
  for (int n = 0; n < 40; ++n) {
    std::vector<Turn> turns;
    std::vector<int> tokens;
    for (uint64_t t = 0; t <= random.below(4); ++t) {
      std::string question, answer;
      for (uint64_t k = 0; k <= random.below(3); ++k) {
        question += texts[random.below(texts.size())];
        answer += texts[random.below(texts.size())];
      }
      const int pictures = int(random.below(3));
      for (int p = 0; p < pictures; ++p) tokens.push_back(1 + int(random.below(5)));
      turns.push_back({question, pictures, answer});
    }
    const std::vector<Piece> pieces = chat_pieces(rule, turns);
    std::vector<std::pair<int, int>> expected;
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (!pieces[i].answer || (i > 0 && pieces[i - 1].answer)) continue;
      size_t end = i;
      while (end < pieces.size() && pieces[end].answer) ++end;
      const auto length = [&](size_t count) {
        const auto before = std::span(pieces).first(count);
        return int(encode_prompt(*tokenizer, rule, before, tokens).ids.size());
      };
      expected.push_back({length(i), length(end)});
    }
    ASSERT_EQ(expected.size(), turns.size());
    EXPECT_EQ(answer_spans(*tokenizer, rule, pieces, tokens), expected);
  }
}

INSTANTIATE_TEST_SUITE_P(All, PromptIds,
                         testing::Values(Fit{"qwen2_internvl", PromptFamily::phantom_qwen2},
                                         Fit{"internlm2_internvl", PromptFamily::phantom_internlm2},
                                         Fit{"phi3_internvl", PromptFamily::phantom_phi3},
                                         Fit{"internlm2_unused", PromptFamily::trol_internlm2},
                                         Fit{"phi3_internvl", PromptFamily::trol_phi3}));

}  // namespace
}  // namespace revenant
