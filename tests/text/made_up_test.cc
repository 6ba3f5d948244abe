#include "text/made_up.h"

#include <gtest/gtest.h>

#include "support/temporary.h"
#include "text/prompt.h"

namespace revenant {
namespace {

struct Known {
  PromptFamily rule;
  int size;
  const char* token;
  int id;
};
// papers.md, 3.2
constexpr Known known[] = {
    {PromptFamily::phantom_qwen2, 151655, "<IMG_CONTEXT>", 151648},
    {PromptFamily::phantom_internlm2, 92553, "<IMG_CONTEXT>", 92546},
    {PromptFamily::phantom_phi3, 32020, "<IMG_CONTEXT>", 32013},
    {PromptFamily::trol_internlm2, 92544, "[UNUSED_TOKEN_146]", 92543},
    {PromptFamily::trol_phi3, 32020, "<|end|>", 32007},
};

class MadeUp : public testing::TestWithParam<Known> {
 protected:
  MadeUp() { write_made_up_tokenizer(directory.path, GetParam().rule); }
  const Temporary directory;
};

TEST_P(MadeUp, SizesAndSpecialTokensAreReal) {
  const Tokenizer t = Tokenizer::open(directory.path);
  EXPECT_EQ(t.size(), GetParam().size);
  EXPECT_EQ(t.id_of(GetParam().token), GetParam().id);
  EXPECT_TRUE(t.is_special(GetParam().id));
  const PromptRule& rule = prompt_rule(GetParam().rule);
  const Tokenizer fitted = tokenizer_for(rule, t);
  for (const int id : stop_ids(rule, fitted)) EXPECT_TRUE(fitted.is_special(id));
  const auto ids = fitted.encode(rule.user_begin, Specials::as_tokens);
  EXPECT_TRUE(fitted.is_special(ids.front()));
}

TEST_P(MadeUp, AnyTextComesBack) {
  const Tokenizer t = Tokenizer::open(directory.path);
  for (const std::string text : {"what is in this picture?", "Tab\there, two  spaces\n\n",
                                 "\xC3\xA4\xE2\x82\xAC \xF0\x9F\x8E\x83"}) {
    const auto ids = t.encode(text, Specials::as_text);
    EXPECT_EQ(t.decode(ids, true), text);
    EXPECT_LT(ids.size(), text.size() + 2);
  }
}

INSTANTIATE_TEST_SUITE_P(All, MadeUp, testing::ValuesIn(known), [](const auto& info) {
  std::string name = name_of(info.param.rule);
  name[name.find('-')] = '_';
  return name;
});

TEST(MadeUpFiles, BothFormsOfPhi3Agree) {
  const Temporary d;
  write_made_up_tokenizer(d.path, PromptFamily::phantom_phi3);
  const std::string text = "a lantern, two chairs and abcdefg\nzzz";
  const auto json = Tokenizer::open(d.path).encode(text, Specials::as_text);
  std::filesystem::remove(d.path / "tokenizer.json");
  EXPECT_EQ(Tokenizer::open(d.path).encode(text, Specials::as_text), json);
}

TEST(MadeUpFiles, BothFormsOfQwen2Agree) {
  const Temporary d;
  write_made_up_tokenizer(d.path, PromptFamily::phantom_qwen2);
  const std::string text = "a lantern, two chairs and abcdefg\nzzz";
  const auto json = Tokenizer::open(d.path).encode(text, Specials::as_text);
  std::filesystem::remove(d.path / "tokenizer.json");
  EXPECT_EQ(Tokenizer::open(d.path).encode(text, Specials::as_text), json);
}

}  // namespace
}  // namespace revenant
