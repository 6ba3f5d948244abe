// The prompt strings of the released code, for all seven models.
#include <algorithm>

#include "base/error.h"
#include "golden_files.h"
#include "prompt_texts.h"

namespace revenant {
namespace {

using golden::Json;

class PromptFamily : public golden::PromptTest {};

TEST_P(PromptFamily, RuleIsTheReleasedOne) {
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

TEST_P(PromptFamily, MakeInstruction) {
  ASSERT_EQ(json["make_instruction"].size(), benchmarks(rule).size());
  for (const Json& r : json["make_instruction"]) {
    const std::string data = r["data"], question = r["question"];
    EXPECT_EQ(released::make_instruction(rule, data, question), r["prompt"].get<std::string>());
  }
}

TEST_P(PromptFamily, EvalProcess) {
  ASSERT_GT(json["eval_process"].size(), 90u);
  for (const Json& r : json["eval_process"]) {
    const std::string text = golden::released_text(rule, r, GetParam().tile);
    EXPECT_EQ(text, golden::expand(r["segments"])) << r["data"] << " " << r["case"];
    EXPECT_EQ(text.size(), r["length_chars"].get<size_t>());
  }
}

TEST_P(PromptFamily, MeantForm) {
  int same = 0;
  for (const Json& r : json["eval_process"]) {
    const std::string data = r["data"], question = r["question"];
    const int pictures = r["case"] != "text";
    if (question.find("<image>") != question.npos) continue;
    const std::string text = golden::meant_text(rule, r, GetParam().tile);
    same += text == golden::expand(r["segments"]);
    size_t count = 0;
    for (size_t at = 0; (at = text.find(rule.context_token, at)) != text.npos; ++at) ++count;
    EXPECT_EQ(count, size_t(pictures * GetParam().tile * r.value("tiles", 1))) << data;
    EXPECT_EQ(text.find("<image>") != text.npos, rule.appends_context && pictures > 0) << data;
  }
  EXPECT_EQ(same, golden::records_where_both_are_equal(rule));
}

TEST_P(PromptFamily, MaxNewTokens) {
  for (const auto& [data, limit] : json["max_new_tokens"].items()) {
    if (limit.is_number())
      EXPECT_EQ(released::max_new_tokens(rule, data), limit.get<int>()) << data;
    else
      EXPECT_THROW(released::max_new_tokens(rule, data), Error) << data;
  }
}

TEST_P(PromptFamily, OutputFiltering) {
  ASSERT_FALSE(json["output_filtering"].empty());
  for (const Json& r : json["output_filtering"])
    EXPECT_EQ(filter_output(rule, r["decoded"].get<std::string>()), r["result"].get<std::string>());
}

TEST_P(PromptFamily, BatchOfTwo) {
  const std::vector<int> tokens = {GetParam().tile};
  const Json& prompts = json["batch_of_two"]["prompts"];
  const auto first = released::eval_process(rule, "demo", "Hi", true);
  const auto second =
      released::eval_process(rule, "demo", "Write a poem about the sea, please.", false);
  EXPECT_EQ(prompt_text(rule, first, tokens), golden::expand(prompts[0]));
  EXPECT_EQ(prompt_text(rule, second, tokens), golden::expand(prompts[1]));
}

TEST_P(PromptFamily, TrainingSample) {
  ASSERT_NE(rule.trol, json.contains("training_sample"));
  if (rule.trol) return;
  const Json& r = json["training_sample"];
  const golden::TrainingText text = golden::training_text(rule, r);
  EXPECT_EQ(text.all, r["prompt_and_answer"].get<std::string>());
  EXPECT_EQ(text.before_answer.size(),
            r["ignored_prefix_chars_if_one_token_per_char"].get<size_t>());
}

INSTANTIATE_TEST_SUITE_P(All, PromptFamily, golden::families(), testing::PrintToStringParamName());

// With the real vocabularies: pieces give the ids of the joined string, and count pictures right.
struct Fit {
  const char *set, *rule;
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

INSTANTIATE_TEST_SUITE_P(All, PromptIds,
                         testing::Values(Fit{"qwen2_internvl", "phantom-qwen2"},
                                         Fit{"internlm2_internvl", "phantom-internlm2"},
                                         Fit{"phi3_internvl", "phantom-phi3"},
                                         Fit{"internlm2_unused", "trol-internlm2"},
                                         Fit{"phi3_internvl", "trol-phi3"}));

}  // namespace
}  // namespace revenant
