// Unicode as the tokenizers need it; expected values are those of Python's unicodedata and str.
#include "text/unicode.h"

#include <gtest/gtest.h>

namespace revenant {
namespace {

TEST(Unicode, Nfc) {
  const std::pair<const char*, const char*> cases[] = {
      {"e\u0301", "\u00e9"},
      {"\u00e9", "\u00e9"},
      {"a\u0308\u0301", "\u00e4\u0301"},
      {"\u1100\u1161\u11a8", "\uac01"},
      {"\uac00\u11a8", "\uac01"},
      {"\u212b", "\u00c5"},
      {"\u2126x", "\u03a9x"},
      {"q\u0307\u0323", "q\u0323\u0307"},
      {"q\u0323\u0307", "q\u0323\u0307"},
      {"\u0344", "\u0308\u0301"},
      {"\u0958", "\u0915\u093c"},
      {"\u0f73\u0f71", "\u0f71\u0f71\u0f72"},
      {"\u0f73\u0f73", "\u0f71\u0f71\u0f72\u0f72"},
      {"\u0f71\u0f72\u0f74", "\u0f71\u0f72\u0f74"},
      {"\ufb01", "\ufb01"},
      {"\u1e9b\u0323", "\u1e9b\u0323"},
      {"a\u0315\u0300\u05aeb", "\u00e0\u05ae\u0315b"},
      {"\U0001d15e", "\U0001d157\U0001d165"},
      {"\u03b1\u0345\u0313", "\u1f80"},
      {"\u2adc", "\u2add\u0338"},
      {"\u0308\u0301", "\u0308\u0301"},
      {"e\u0316\u0301", "\u00e9\u0316"},
  };
  for (const auto& [text, composed] : cases) EXPECT_EQ(nfc(text), composed) << text;
}

TEST(Unicode, BrokenPartsBecomeOneReplacementEach) {
  const std::pair<std::string, const char*> cases[] = {
      {"a\xFF", "a\uFFFD"},
      {"\xE2\x82", "\uFFFD"},
      {"\xE2\x82(", "\uFFFD("},
      {"\xC0\x80", "\uFFFD\uFFFD"},
      {"\xE0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xF0\x9F\x8E", "\uFFFD"},
      {"\xF0\x9F\x8E\x83", "\U0001F383"},
      {"\x80\x80", "\uFFFD\uFFFD"},
      {std::string("a\0b", 3), "a"},
  };
  for (const auto& [bytes, text] : cases)
    EXPECT_EQ(repaired(bytes).substr(0, std::string(text).size()), text);
  EXPECT_EQ(repaired(cases[10].first), cases[10].first);
}

TEST(Unicode, Strip) {
  EXPECT_EQ(
      strip(" \t\n\v\f\r\u0085\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000x y\u3000 "),
      "x y");
  EXPECT_EQ(strip("\u200b"), "\u200b");  // zero width, but not White_Space
  EXPECT_EQ(strip("\u00a0 \u3000"), "");
  EXPECT_EQ(strip("\u00e9"), "\u00e9");
}

// U+3000 and U+0085 are white space, too, and may come apart from what follows.
TEST(Unicode, AStreamIsTrimmedAsItsText) {
  const std::vector<std::string> pieces = {" \n",      "\u3000", "a\u00A0", "\u3000",
                                           "\u00e4 b", "",       "\u0085",  "\u2003\t"};
  TrimmedStream stream;
  std::string whole, trimmed;
  for (const std::string& piece : pieces) whole += piece, trimmed += stream.push(piece);
  EXPECT_EQ(trimmed, "a\u00A0\u3000\u00e4 b");
  EXPECT_EQ(trimmed, strip(whole));
}

TEST(Unicode, WithoutControls) {
  EXPECT_EQ(without_controls("a\tb\n\u00e4\u3000\U0001F600"), "a\tb\n\u00e4\u3000\U0001F600");
  EXPECT_EQ(without_controls("\x1b[2Jx\a\r\x7f"), "\uFFFD[2Jx\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(without_controls("\u0080\u009b\u00a0"), "\uFFFD\uFFFD\u00a0");
}

TEST(Unicode, Kinds) {
  for (const char32_t c : {U'a', U'Z', U'\u00aa', U'\u01c5', U'\u02b0', U'\u732b', U'\uac00'})
    EXPECT_EQ(kind_of(c), CharKind::letter) << uint32_t(c);
  for (const char32_t c : {U'0', U'\u0663', U'\u00b2', U'\u00bd', U'\u2167', U'\u2460'})
    EXPECT_EQ(kind_of(c), CharKind::number) << uint32_t(c);
  for (const char32_t c : {U'.', U'_', U'\u0301', U'\u0903', U'\U0001F600', U'\u200b', U'\uFFFD'})
    EXPECT_EQ(kind_of(c), CharKind::other) << uint32_t(c);
  for (const char32_t c : {U' ', U'\t', U'\v', U'\u0085', U'\u00a0', U'\u2028', U'\u3000'})
    EXPECT_EQ(kind_of(c), CharKind::space) << uint32_t(c);
  EXPECT_EQ(kind_of(U'\n'), CharKind::newline);
  EXPECT_EQ(kind_of(U'\r'), CharKind::newline);
  for (const char32_t c : {U'a', U'9', U'_', U'\u0301', U'\u0903', U'\u203f', U'\u2167'})
    EXPECT_TRUE(is_word(c)) << uint32_t(c);
  for (const char32_t c : {U'-', U'\u00b2', U'\u2019', U'\U0001F600', U' '})
    EXPECT_FALSE(is_word(c)) << uint32_t(c);
}

}  // namespace
}  // namespace revenant
