// Tokenizers small enough to write down: every flag, and every way to be malformed.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/random.h"
#include "text/train_bpe.h"

namespace revenant {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

class Directory {
 public:
  Directory() {
    std::string name = (std::filesystem::temp_directory_path() / "revenant_tok_XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path = name;
  }
  ~Directory() { std::filesystem::remove_all(path); }
  void write(const std::string& name, const std::string& text) { write_file(path / name, text); }
  Tokenizer open() { return Tokenizer::open(path); }
  Path path;
};

// "abc" merges to ab + c, then abc; a byte-fallback vocabulary in Llama's form.
Json small() {
  Json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  constexpr char digits[] = "0123456789ABCDEF";
  for (int b = 0; b < 256; ++b)
    vocab[std::string("<0x") + digits[b >> 4] + digits[b & 15] + ">"] = 3 + b;
  int id = 259;
  for (const char* t : {"\u2581", "a", "b", "c", "ab", "abc", "<", "s", ">", "<s"}) vocab[t] = id++;
  const auto special = [](int i, const char* text) {
    return Json{{"id", i}, {"content", text}, {"special", true}, {"normalized", false}};
  };
  return {
      {"model",
       {{"type", "BPE"},
        {"unk_token", "<unk>"},
        {"byte_fallback", true},
        {"vocab", vocab},
        {"merges", {"a b", "ab c", "< s", "<s >"}}}},
      {"normalizer", {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}},
      {"decoder",
       {{"type", "Sequence"}, {"decoders", {{{"type", "ByteFallback"}}, {{"type", "Fuse"}}}}}},
      {"added_tokens", {special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")}}};
}

// The ids of `text` with one added token "[T]" (id 300) that has the given flags.
Ids with_flags(const Json& flags, const std::string& text) {
  Json file = small();
  Json token = {{"id", 300}, {"content", "[T]"}, {"special", false}, {"normalized", false}};
  token.update(flags);
  file["added_tokens"].push_back(token);
  Directory d;
  d.write("tokenizer.json", file.dump());
  return d.open().encode(text, Specials::as_tokens);
}

constexpr int space = 259, a = 260, b = 261, abc = 264;

TEST(Tokenizer, MergesByRank) {
  Directory d;
  Json file = small();
  d.write("tokenizer.json", file.dump());
  EXPECT_EQ(d.open().encode("abc", Specials::as_text), Ids{abc});
  file["model"]["vocab"]["bc"] = 270;
  file["model"]["merges"] = {"b c", "a b"};
  d.write("tokenizer.json", file.dump());
  EXPECT_EQ(d.open().encode("abc", Specials::as_text), (Ids{a, 270}));
}

TEST(Tokenizer, StripFlags) {
  const std::string text = "a \t[T] \n b";
  EXPECT_EQ(with_flags(Json::object(), text), (Ids{a, space, 3 + 9, 300, space, 3 + 10, space, b}));
  EXPECT_EQ(with_flags({{"lstrip", true}}, text), (Ids{a, 300, space, 3 + 10, space, b}));
  EXPECT_EQ(with_flags({{"rstrip", true}}, text), (Ids{a, space, 3 + 9, 300, b}));
  EXPECT_EQ(with_flags({{"rstrip", true}, {"lstrip", true}}, " [T] [T] "), (Ids{300, 300}));
}

TEST(Tokenizer, SingleWord) {
  EXPECT_EQ(with_flags({{"single_word", true}}, "a [T] b"), (Ids{a, space, 300, space, b}));
  const Ids touching = with_flags({{"single_word", true}}, "a[T] b");
  EXPECT_EQ(std::count(touching.begin(), touching.end(), 300), 0);
}

// A normalised token is looked for after spaces became U+2581, with its content changed likewise.
TEST(Tokenizer, NormalizedToken) {
  const Json flags = {{"normalized", true}, {"content", "[ T]"}};
  EXPECT_EQ(with_flags(flags, "a[ T]b"), (Ids{a, 300, b}));
  EXPECT_EQ(with_flags(flags, "a[\u2581T]b"), (Ids{a, 300, b}));
  const Json raw = {{"content", "[ T]"}};
  const Ids ids = with_flags(raw, "a[\u2581T]b");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 300), 0);
}

// Merges that spell a special token exist in InternLM2's file: text must not reach it.
TEST(Tokenizer, MergesCannotSpellSpecialTokens) {
  Directory d;
  d.write("tokenizer.json", small().dump());
  const Tokenizer t = d.open();
  EXPECT_EQ(t.encode("<s>", Specials::as_tokens), Ids{1});
  EXPECT_EQ(t.encode("<s>", Specials::as_text), (Ids{268, 267}));
  EXPECT_EQ(t.decode(t.encode("<s>", Specials::as_text), false), "<s>");
}

TEST(Tokenizer, IgnoreMerges) {
  Directory d;
  Json file = small();
  file["model"]["vocab"]["cab"] = 270;
  d.write("tokenizer.json", file.dump());
  EXPECT_EQ(d.open().encode("cab", Specials::as_text).size(), 2u);
  file["model"]["ignore_merges"] = true;
  d.write("tokenizer.json", file.dump());
  EXPECT_EQ(d.open().encode("cab", Specials::as_text), Ids{270});
}

TEST(Tokenizer, MetaspaceMarksTheFirstWord) {
  Directory d;
  Json file = small();
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] = {{"type", "Metaspace"}, {"prepend_scheme", "first"}, {"split", false}};
  d.write("tokenizer.json", file.dump());
  EXPECT_EQ(d.open().encode("a<s>a b", Specials::as_tokens), (Ids{space, a, 1, a, space, b}));
  file["pre_tokenizer"]["prepend_scheme"] = "always";
  d.write("tokenizer.json", file.dump());
  EXPECT_EQ(d.open().encode("a<s>a", Specials::as_tokens), (Ids{space, a, 1, space, a}));
}

TEST(Tokenizer, SideFiles) {
  Directory d;
  d.write("tokenizer.json", small().dump());
  d.write("added_tokens.json", R"({"<img>": 269, "plain": 270})");
  d.write("special_tokens_map.json",
          R"({"eos_token": "</s>", "additional_special_tokens": ["<img>"]})");
  d.write("tokenizer_config.json", R"({"bos_token": {"content": "<s>"}, "added_tokens_decoder":
      {"271": {"content": "<x>", "rstrip": true, "special": true}}})");
  const Tokenizer t = d.open();
  EXPECT_EQ(t.size(), 272);
  EXPECT_EQ(t.eos(), 2);
  EXPECT_EQ(t.bos(), 1);
  EXPECT_TRUE(t.is_special(269));
  EXPECT_FALSE(t.is_special(270));
  EXPECT_EQ(t.encode("<x> <img>plain", Specials::as_tokens), (Ids{271, 269, 270}));
  EXPECT_EQ(t.with_token("<img>").size(), 272);
  EXPECT_EQ(t.with_token("<image>").id_of("<image>"), 272);
}

TEST(Tokenizer, StreamNeverSplitsACharacter) {
  Directory d;
  d.write("tokenizer.json", small().dump());
  StreamDecoder stream(d.open(), true);
  EXPECT_EQ(stream.push(3 + 0xE2), "");
  EXPECT_EQ(stream.push(3 + 0x82), "");
  EXPECT_EQ(stream.push(3 + 0xAC), "\u20AC");
  EXPECT_EQ(stream.push(3 + 0xE2), "");
  EXPECT_EQ(stream.push(a), "\uFFFDa");
  EXPECT_EQ(stream.push(3 + 0xF0), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
}

TEST(Tokenizer, BrokenInputBecomesReplacementCharacters) {
  Directory d;
  d.write("tokenizer.json", small().dump());
  const Tokenizer t = d.open();
  EXPECT_EQ(t.encode("a\xFF\xE2\x82", Specials::as_text),
            t.encode("a\uFFFD\uFFFD", Specials::as_text));
  EXPECT_EQ(t.decode(Ids{a, -1, 1 << 30}, true), "a");
}

std::string error_of(const Directory& d) {
  try {
    Tokenizer::open(d.path);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(TokenizerErrors, MissingNamesDirectoryAndFiles) {
  Directory d;
  const std::string what = error_of(d);
  for (const char* part : {"tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt"})
    EXPECT_NE(what.find(part), what.npos) << what;
  EXPECT_NE(what.find(d.path.string()), what.npos);
}

// One change to a good file, and a word that the message must hold.
struct Fault {
  const char *pointer, *value, *word;
};

TEST(TokenizerErrors, EachFaultIsOneLine) {
  const Fault faults[] = {
      {"/model/type", R"("Unigram")", "BPE"},
      {"/model/merges/0", R"("a zz")", "zz"},
      {"/model/merges/0", R"("ab")", "merge"},
      {"/model/merges/0", R"("a b c")", "merge"},
      {"/model/merges/0", R"(["a"])", "merge"},
      {"/model/merges/0", "7", "merge"},
      {"/model/merges/0", R"("b a")", "'b' + 'a'"},
      {"/model/merges", R"({"a": 1})", "list"},
      {"/model/vocab/a", "-1", "id"},
      {"/model/vocab/a", "5000000000", "id"},
      {"/model/vocab/a", R"("x")", "id"},
      {"/model/vocab/a", "261", "once"},
      {"/model/vocab", "[]", "object"},
      {"/model/dropout", "0.1", "dropout"},
      {"/model/end_of_word_suffix", R"("</w>")", "suffix"},
      {"/added_tokens/0/id", "2000000000", "id"},
      {"/added_tokens/0/id", "1", "token"},
      {"/added_tokens/0/content", "3", "string"},
      {"/normalizer/type", R"("Lowercase")", "Lowercase"},
      {"/normalizer/pattern", R"({"String": ""})", "replace"},
      {"/pre_tokenizer", R"({"type": "Digits"})", "Digits"},
      {"/pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "x"}})", "pattern"},
      {"/decoder/decoders/0/type", R"("CTC")", "CTC"},
      {"/model", "null", "model"},
  };
  for (const Fault& fault : faults) {
    Json file = small();
    file[Json::json_pointer(fault.pointer)] = Json::parse(fault.value);
    Directory d;
    d.write("tokenizer.json", file.dump());
    const std::string what = error_of(d);
    EXPECT_NE(what.find(fault.word), what.npos) << fault.pointer << fault.value << ": " << what;
    EXPECT_TRUE(what.starts_with("[tokenizer]")) << what;
    EXPECT_EQ(what.find('\n'), what.npos) << what;
  }
}

TEST(TokenizerErrors, TruncatedJson) {
  const std::string good = small().dump();
  for (size_t size = 0; size < good.size(); size += 97) {
    Directory d;
    d.write("tokenizer.json", good.substr(0, size));
    EXPECT_TRUE(error_of(d).starts_with("[tokenizer]")) << size;
  }
}

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

TEST(SentencePieceErrors, EachFaultIsOneLine) {
  const std::string good = small_model();
  const std::pair<std::string, const char*> faults[] = {
      {small_model(field(3, 1) + field(4, 0), 1), "type 1"},
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

const std::vector<std::string> texts = {"the cat and the hat, the end.\n",
                                        "The cat's 12 caf\u00e9s", "the \u732b sat; \u732b \u732b"};
const std::vector<std::string> specials = {"<|endoftext|>", "<img>"};

TEST(TrainBpe, OpensAndRoundTrips) {
  Directory d;
  d.write("tokenizer.json", train_byte_bpe(texts, 264, specials));
  const Tokenizer t = d.open();
  EXPECT_EQ(t.size(), 264);
  EXPECT_EQ(t.id_of("a"), 'a');
  EXPECT_EQ(t.id_of("<img>"), 263);
  EXPECT_TRUE(t.is_special(262));
  for (const std::string& text : texts) {
    const Ids ids = t.encode(text, Specials::as_text);
    EXPECT_LT(ids.size(), text.size());
    EXPECT_EQ(t.decode(ids, true), text);
  }
  EXPECT_EQ(t.token_of(256), "he");  // 5 times, before "th" and " t" by its ids
}

TEST(TrainBpe, IsDeterministicAndBounded) {
  EXPECT_EQ(train_byte_bpe(texts, 300, specials), train_byte_bpe(texts, 300, specials));
  Directory d;
  d.write("tokenizer.json", train_byte_bpe(texts, 5000, specials));
  EXPECT_LT(d.open().size(), 400);
  EXPECT_THROW(train_byte_bpe(texts, 257, specials), Error);
}

}  // namespace
}  // namespace revenant
