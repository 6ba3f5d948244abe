// tokenizer.model, made field by field.
#include <cmath>
#include <cstring>

#include "base/random.h"
#include "small_tokenizers.h"

namespace revenant {
namespace {

using small::Directory;
using small::error_of;
using small::Ids;

std::string varint(uint64_t x) {
  std::string out;
  for (; x >= 128; x >>= 7) out += char((x & 127) | 128);
  return out + char(x);
}

std::string field(int number, const std::string& bytes) {
  return varint(uint64_t(number) << 3 | 2) + varint(bytes.size()) + bytes;
}

std::string field(int number, int value) {
  return varint(uint64_t(number) << 3) + varint(uint64_t(value));
}

std::string piece(const std::string& text, float score, int type) {
  std::string bits(4, 0);
  std::memcpy(bits.data(), &score, 4);
  return field(1, field(1, text) + varint(2 << 3 | 5) + bits + field(3, type));
}

std::string small_model(const std::string& normaliser = field(3, 1) + field(4, 0), int type = 2) {
  std::string model = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3);
  int i = 0;
  for (const char* t : {"ab", "bc", "\u2581a", "\u2581", "a", "b", "c"})
    model += piece(t, float(--i), 1);
  return model + field(2, field(3, type)) + field(3, normaliser);
}

TEST(SentencePiece, MergesByScore) {
  Directory d;
  d.write("tokenizer.model", small_model());
  const Tokenizer t = d.open();
  EXPECT_EQ(t.encode("abc", Specials::as_text), (Ids{6, 3, 9}));  // U+2581, ab, c
  EXPECT_EQ(t.encode("x<s>", Specials::as_tokens), (Ids{6, 0, 1}));
  EXPECT_EQ(t.decode(Ids{6, 3, 9}, true), "abc");
  EXPECT_EQ(t.with_frame({9}), (Ids{1, 9}));
  d.write("tokenizer_config.json", R"({"add_bos_token": false, "legacy": false})");
  EXPECT_EQ(d.open().with_frame({9}), Ids{9});
  EXPECT_EQ(d.open().encode("a<s>a", Specials::as_tokens), (Ids{5, 1, 7}));
}

// Pieces of equal score: the leftmost pair first, whatever the order of pieces.
TEST(SentencePiece, EqualScoresAreEqual) {
  std::string model = piece("<unk>", 0, 2);
  for (const char* t : {"ca", "bc"}) model += piece(t, -1, 1);
  for (const char* t : {"\u2581", "a", "b", "c"}) model += piece(t, -5, 1);
  model += field(2, field(3, 2)) + field(3, field(3, 0) + field(4, 0));
  Directory d;
  d.write("tokenizer.model", model);
  EXPECT_EQ(d.open().encode("bca", Specials::as_text), (Ids{2, 4}));  // bc, a
  EXPECT_EQ(d.open().encode("bcbca", Specials::as_text), (Ids{2, 2, 4}));
}

TEST(SentencePiece, UserDefinedPiecesAreCutOutFirst) {
  Directory d;
  d.write("tokenizer.model", small_model() + piece("cab", 0, 4));
  const Tokenizer t = d.open();
  EXPECT_EQ(t.encode("acabb", Specials::as_tokens), (Ids{5, 10, 6, 8}));  // prefixed anew after it
  EXPECT_FALSE(t.is_special(10));
  EXPECT_EQ(t.encode("acabb", Specials::as_text), (Ids{5, 9, 3, 8}));
}

TEST(SentencePiece, BytesOnlyWithFallback) {
  std::string model = piece("<unk>", 0, 2);
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", unsigned(b));
    model += piece(name, 0, 6);
  }
  model += piece("\u2581", -1, 1) + piece("a", -2, 1) + field(3, field(3, 0) + field(4, 0));
  Directory d;
  d.write("tokenizer.model", model + field(2, field(3, 2) + field(35, 1)));
  EXPECT_EQ(d.open().encode("a\u00e9", Specials::as_text), (Ids{258, 1 + 0xC3, 1 + 0xA9}));
  EXPECT_EQ(d.open().decode(Ids{258, 1 + 0xC3, 1 + 0xA9}, true), "a\u00e9");
  d.write("tokenizer.model", model + field(2, field(3, 2) + field(35, 0)));
  EXPECT_NE(error_of(d).find("byte_fallback"), std::string::npos);
}

TEST(SentencePiece, UnknownsInARowAreOne) {
  Directory d;
  d.write("tokenizer.model", small_model());
  EXPECT_EQ(d.open().encode("axyb", Specials::as_text), (Ids{5, 0, 8}));
}

TEST(SentencePiece, TheConfigMayTakeThePrefixAway) {
  Directory d;
  d.write("tokenizer.model", small_model());
  d.write("tokenizer_config.json", std::string(R"({"add_prefix_space": false})"));
  EXPECT_EQ(d.open().encode("a a", Specials::as_text), (Ids{7, 5}));
  EXPECT_EQ(d.open().decode(Ids{5, 7}, true), " aa");
  d.write("tokenizer_config.json", std::string(R"({"add_prefix_space": true})"));
  EXPECT_EQ(d.open().encode("a a", Specials::as_text), (Ids{5, 5}));
  EXPECT_EQ(d.open().decode(Ids{5, 7}, true), "aa");
  d.write("tokenizer.model", small_model(field(3, 0) + field(4, 0)));
  EXPECT_NE(error_of(d).find("add_prefix_space"), std::string::npos);
}

TEST(SentencePieceErrors, EachFaultIsOneLine) {
  const std::string good = small_model();
  const std::pair<std::string, const char*> faults[] = {
      {small_model(field(3, 1) + field(4, 0), 1), "type 1 (unigram)"},
      {small_model(field(3, 1) + field(4, 0), 3), "type 3 (word)"},
      {small_model(field(3, 1) + field(4, 0), 4), "type 4 (char)"},
      {small_model(field(3, 1) + field(4, 0), 9), "type 9"},
      {small_model(field(3, 1) + field(4, 0) + field(5, 0)), "plain"},
      {good + field(2, field(24, 1)), "treat_whitespace_as_suffix"},
      {good + field(5, field(2, "table")), "denormalisation"},
      {good + piece("\u00e9", 0, 5), "unused"},
      {good + piece("<0x41>", 0, 6), "byte_fallback"},
      {small_model(field(3, 1) + field(4, 1)), "spaces"},
      {small_model(field(2, "table") + field(4, 0)), "normalisation"},
      {"", "no pieces"},
      {good + piece("ab", 0, 1), "again"},
      {good + piece("\xFF", 0, 1), "UTF-8"},
      {good + piece("new", NAN, 1), "finite"},
      {good + varint(1 << 3 | 2) + varint(5'000'000'000), "5000000000 more bytes"},
      {good + std::string(11, '\xFF'), "longer"},
      {good + "\x0B", "field type"},
  };
  for (const auto& [model, word] : faults) {
    Directory d;
    d.write("tokenizer.model", model);
    const std::string what = error_of(d);
    EXPECT_NE(what.find(word), what.npos) << word << ": " << what;
  }
}

TEST(SentencePieceErrors, TruncatedOrFlippedNeverCrashes) {
  const std::string good = small_model();
  Random random(7);
  Directory d;
  for (int i = 0; i < 200; ++i) {
    std::string bad = good.substr(0, random.below(good.size() + 1));
    if (!bad.empty()) bad[random.below(bad.size())] = char(random.below(256));
    d.write("tokenizer.model", bad);
    const std::string what = error_of(d);
    EXPECT_TRUE(what == "no error" || what.starts_with("[tokenizer]")) << what;
  }
}

}  // namespace
}  // namespace revenant
