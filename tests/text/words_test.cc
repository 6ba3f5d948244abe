// How each published pattern cuts texts, as Hugging Face's library cuts them with the expression.
#include "text/words.h"

#include <gtest/gtest.h>

#include <string>

namespace revenant {
namespace {

// The words, with a bar between each two; `llama3` empty: as qwen2.
struct Case {
  const char *gpt2, *qwen2, *llama3;
};

const Case cases[] = {
    {"Hello|,| world", "Hello|,| world", ""},
    {"I|'ll| it|'s| we|'re| they|'ve| I|'m| he|'d| can|'t",
     "I|'ll| it|'s| we|'re| they|'ve| I|'m| he|'d| can|'t", ""},
    {"I|'|LL| IT|'|S| WE|'|RE| THEY|'|VE| I|'|M| HE|'|D| CAN|'|T",
     "I|'LL| IT|'S| WE|'RE| THEY|'VE| I|'M| HE|'D| CAN|'T", ""},
    {"IT|'|SELF| they|'re|ally| WE|'|LLX", "IT|'S|ELF| they|'re|ally| WE|'LL|X", ""},
    {"it|'|\u017f| '|S|'|x| '|rE|'|vE", "it|'\u017f| '|S|'x| '|rE|'vE", ""},
    {"x|'s|y|'t|z| '|l| '|r| '", "x|'s|y|'t|z| '|l| '|r| '", ""},
    {"12345| 6| 78", "1|2|3|4|5| |6| |7|8", "123|45| |6| |78"},
    {"a|1|b|22|c|333|d|4444", "a|1|b|2|2|c|3|3|3|d|4|4|4|4", "a|1|b|22|c|333|d|444|4"},
    {"\u00b2\u00b3\u2460\u0663\u0967\u2167|x|\u00bd",
     "\u00b2|\u00b3|\u2460|\u0663|\u0967|\u2167|x|\u00bd",
     "\u00b2\u00b3\u2460|\u0663\u0967\u2167|x|\u00bd"},
    {"1\u00b2\u0664| x", "1|\u00b2|\u0664| x", "1\u00b2\u0664| x"},
    {"foo| | bar|  | baz", "foo| | bar|  | baz", ""},
    {"foo| \n| bar", "foo| \n| bar", ""},
    {"a|\n|\n|b", "a|\n\n|b", ""},
    {"a| \n\n | b", "a| \n\n| | b", ""},
    {"a|\r|\n|b|\r\n\r|\n|c", "a|\r\n|b|\r\n\r\n|c", ""},
    {"tab|\t|x|\t|\t|y", "tab|\tx|\t|\ty", ""},
    {"end|   ", "end|   ", ""},
    {"end|\n", "end|\n", ""},
    {"end| \n ", "end| \n| ", ""},
    {"\n", "\n", ""},
    {"   ", "   ", ""},
    {" | x", " | x", ""},
    {"\t|x", "\tx", ""},
    {" |\t|x", " |\tx", ""},
    {"!!!|\n|\n|x", "!!!\n\n|x", ""},
    {"a|!!|\n| b", "a|!!\n| b", ""},
    {"...|x| ...|x| | ...|x", "...|x| ...|x| | ...|x", ""},
    {"(|foo|)", "(foo|)", ""},
    {"$|5|.|00| #|tag| @|me", "$|5|.|0|0| #|tag| @|me", "$|5|.|00| #|tag| @|me"},
    {"\u732b\u72d7| \u3042\u3044", "\u732b\u72d7| \u3042\u3044", ""},
    {"\ud55c\uad6d\uc5b4| \u0e44\u0e17\u0e22", "\ud55c\uad6d\uc5b4| \u0e44\u0e17\u0e22", ""},
    {"e|\u0301|a|\u0308", "e|\u0301a|\u0308", ""},
    {"\u0301|x", "\u0301x", ""},
    {"\U0001f600\U0001f600| \U0001f468\u200d\U0001f469",
     "\U0001f600\U0001f600| \U0001f468\u200d\U0001f469", ""},
    {"x|\u00a0|y|\u3000|z|\u2003|\u2003|w", "x|\u00a0y|\u3000z|\u2003|\u2003w", ""},
    {"\u00a0|\u00a0|x", "\u00a0|\u00a0x", ""},
    {"a|\u2028|b|\u2029|\u2029|c|\302\205|d", "a|\u2028b|\u2029|\u2029c|\302\205d", ""},
    {"x|\u200b|y", "x|\u200by", ""},
    {"_|a|_|b| __", "_a|_b| __", ""},
    {"don|'t|\u2019|t| '|tis", "don|'t|\u2019t| '|tis", ""},
    {"\u0130|'|S", "\u0130|'S", ""},
    {".'|s", ".'|s", ""},
    {" '|s", " '|s", ""},
    {"\n|'s", "\n|'s", ""},
    {"a|\013|\014|b", "a|\013|\014b", ""},
    {"\u00aa\u00ba\u01c5\u02b0x", "\u00aa\u00ba\u01c5\u02b0x", ""},
    {"\u0903\u093f|a", "\u0903\u093f|a", ""},
    {"1|,|000|.|5", "1|,|0|0|0|.|5", "1|,|000|.|5"},
    {" | 1| | 2", " | |1| | |2", ""},
    {"x|\n\n\n  \n| y", "x|\n\n\n  \n| y", ""},
    {"-|\r\r|\n|-", "-\r\r\n|-", ""},
};

std::string cut(const std::string& bars, WordPattern pattern) {
  std::string text, out;
  for (const char c : bars)
    if (c != '|') text += c;
  for (const auto word : split_words(text, pattern))
    out.append(out.empty() ? "" : "|").append(word);
  return out;
}

TEST(Words, AreCutAsThePatternsSay) {
  for (const Case& c : cases) {
    EXPECT_EQ(cut(c.gpt2, WordPattern::gpt2), c.gpt2);
    EXPECT_EQ(cut(c.qwen2, WordPattern::qwen2), c.qwen2);
    const char* llama3 = *c.llama3 ? c.llama3 : c.qwen2;
    EXPECT_EQ(cut(llama3, WordPattern::llama3), llama3);
  }
}

// Hugging Face's Digits (individual_digits), then ByteLevel with its expression.
TEST(Words, DigitsAreCutOutFirst) {
  for (const char* words : {"a| |1|2| b", "x|  |3", "x|   |3|y", " |1|  |2", "can|'t| |4|'s| |5|'s",
                            "n|\u00b2|\u2167| |\u00bd", "a|\n\n|7|\n|8| \n", "tab|\t|9", " |1",
                            "1| ", "  ", " !|3| ", "a| |1|,|0|0|0|.|5| b"})
    EXPECT_EQ(cut(words, WordPattern::digits_gpt2), words);
}

TEST(Words, WholeIsOneWord) {
  EXPECT_EQ(split_words("a b\n1", WordPattern::whole).size(), 1u);
  for (const auto pattern : {WordPattern::whole, WordPattern::gpt2, WordPattern::qwen2})
    EXPECT_TRUE(split_words("", pattern).empty());
}

}  // namespace
}  // namespace revenant
