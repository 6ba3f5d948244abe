// Tokenizers small enough to write down: every flag, and every way to be malformed.
#include "text/tokenizer.h"

#include "base/error.h"
#include "small_tokenizers.h"
#include "text/tokenizer_files.h"
#include "text/train_bpe.h"

namespace revenant {
namespace {

using small::Directory;
using small::error_of;
using small::Ids;
using small::Json;

// The ids of `text` with one added token "[T]" (id 300) that has the given flags.
Ids with_flags(const Json& flags, const std::string& text) {
  Json file = small::sentencepiece();
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
  Json file = small::sentencepiece();
  d.write("tokenizer.json", file.dump());
  EXPECT_EQ(d.open().encode("abc", Specials::as_text), Ids{abc});
  file["model"]["vocab"]["bc"] = 270;
  file["model"]["merges"] = {"b c", "a b"};
  d.write("tokenizer.json", file.dump());
  EXPECT_EQ(d.open().encode("abc", Specials::as_text), (Ids{a, 270}));
}

// A model in one file carries its tokenizer's files.
TEST(Tokenizer, OpensFromTextsThatOneFileHolds) {
  const std::string json = small::sentencepiece().dump(), added = R"({"[T]": 300})";
  const FileSet files("m.gguf", {{"tokenizer.json", json}, {"added_tokens.json", added}});
  const Tokenizer t = Tokenizer::open(files);
  EXPECT_EQ(t.encode("abc[T]", Specials::as_tokens), (Ids{abc, 300}));
  const auto complaint = [](const FileSet& broken) {
    try {
      Tokenizer::open(broken);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  EXPECT_EQ(complaint(FileSet("m.gguf", {{"tokenizer.json", "["}})).substr(0, 35),
            "[tokenizer] m.gguf: tokenizer.json:");
  EXPECT_EQ(complaint(FileSet("m.gguf", {{"tokenizer.json", json}, {"added_tokens.json", "[]"}}))
                .substr(0, 38),
            "[tokenizer] m.gguf: added_tokens.json:");
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
  d.write("tokenizer.json", small::sentencepiece().dump());
  const Tokenizer t = d.open();
  EXPECT_EQ(t.encode("<s>", Specials::as_tokens), Ids{1});
  EXPECT_EQ(t.encode("<s>", Specials::as_text), (Ids{268, 267}));
  EXPECT_EQ(t.decode(t.encode("<s>", Specials::as_text), false), "<s>");
  EXPECT_EQ(t.decode(t.encode("<s>", Specials::as_tokens), false), "");
  EXPECT_EQ(t.decode(t.encode("<s>", Specials::as_tokens), true), "<s>");
}

TEST(Tokenizer, IgnoreMerges) {
  Directory d;
  Json file = small::sentencepiece();
  file["model"]["vocab"]["cab"] = 270;
  d.write("tokenizer.json", file.dump());
  EXPECT_EQ(d.open().encode("cab", Specials::as_text).size(), 2u);
  file["model"]["ignore_merges"] = true;
  d.write("tokenizer.json", file.dump());
  EXPECT_EQ(d.open().encode("cab", Specials::as_text), Ids{270});
}

TEST(Tokenizer, MetaspaceMarksTheFirstWord) {
  Directory d;
  Json file = small::sentencepiece();
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] = {{"type", "Metaspace"},
                           {"replacement", "\u2581"},
                           {"prepend_scheme", "first"},
                           {"split", false}};
  d.write("tokenizer.json", file.dump());
  EXPECT_EQ(d.open().encode("a<s>a b", Specials::as_tokens), (Ids{space, a, 1, a, space, b}));
  file["pre_tokenizer"]["prepend_scheme"] = "always";
  d.write("tokenizer.json", file.dump());
  EXPECT_EQ(d.open().encode("a<s>a", Specials::as_tokens), (Ids{space, a, 1, space, a}));
}

TEST(Tokenizer, SideFiles) {
  Directory d;
  d.write("tokenizer.json", small::sentencepiece().dump());
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

// Where Hugging Face's tools look for them, beside what stands there.
TEST(Tokenizer, TokensAreWrittenIntoItsFiles) {
  const Json bytes = Json::parse(train_byte_bpe({}, 256, {}));
  const std::map<std::string, std::string, std::less<>>
      one = {{"tokenizer.json", small::sentencepiece().dump()}},
      two = {{"vocab.json", bytes["model"]["vocab"].dump()},
             {"merges.txt", ""},
             {"added_tokens.json", R"({"<x>": 256})"},
             {"special_tokens_map.json", R"({"additional_special_tokens": ["<x>"]})"},
             {"tokenizer_config.json", R"({"tokenizer_class": "Qwen2Tokenizer"})"}};
  for (const auto& contents : {one, two}) {
    const Temporary place;
    const FileSet from("m.gguf", contents);
    const int32_t size = Tokenizer::open(from).size();
    write_tokenizer(from, place.path, {"<img>", "</img>"}, size);
    const Tokenizer t = Tokenizer::open(place.path);
    EXPECT_EQ(t.size(), size + 2);
    EXPECT_EQ(t.encode("<img></img>", Specials::as_tokens), (Ids{size, size + 1}));
    EXPECT_TRUE(t.is_special(size));
    EXPECT_TRUE(t.is_special(size - 1) || contents.contains("tokenizer.json"));
    for (const auto& [name, text] : contents)
      EXPECT_TRUE(std::filesystem::exists(place.path / name));
  }
}

// The flags of tokenizer_config.json count more than those of tokenizer.json, as in transformers.
TEST(Tokenizer, ConfigReplacesTheFlagsOfAnAddedToken) {
  Json file = small::sentencepiece();
  file["added_tokens"].push_back({{"id", 269}, {"content", "[T]"}, {"special", true}});
  Directory d;
  d.write("tokenizer.json", file);
  const Json entry = {
      {"content", "[T]"}, {"rstrip", true}, {"special", false}, {"normalized", false}};
  d.write("tokenizer_config.json", Json{{"added_tokens_decoder", {{"269", entry}}}});
  EXPECT_EQ(d.open().encode("[T] a", Specials::as_tokens), (Ids{269, a}));
  EXPECT_FALSE(d.open().is_special(269));
  d.write("special_tokens_map.json", R"({"pad_token": "[T]"})");
  EXPECT_TRUE(d.open().is_special(269));
  EXPECT_EQ(d.open().encode("[T] a", Specials::as_tokens), (Ids{269, a}));
}

// Every key under which transformers 4 and 5 name special tokens.
TEST(Tokenizer, NamedTokensAreSpecial) {
  const char* configs[] = {
      R"({"bos_token": "abc"})",
      R"({"eos_token": "abc"})",
      R"({"unk_token": "abc"})",
      R"({"sep_token": "abc"})",
      R"({"pad_token": "abc"})",
      R"({"cls_token": "abc"})",
      R"({"mask_token": {"content": "abc", "lstrip": false, "__type": "AddedToken"}})",
      R"({"image_token": "abc"})",
      R"({"additional_special_tokens": ["abc"]})",
      R"({"extra_special_tokens": ["abc"]})",
      R"({"extra_special_tokens": {"image_token": "abc"}})",
      R"({"model_specific_special_tokens": {"image_token": "abc"}})"};
  for (const char* config : configs)
    for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
      Directory d;
      d.write("tokenizer.json", small::sentencepiece());
      d.write(name, std::string(config));
      EXPECT_TRUE(d.open().is_special(abc)) << config;
      EXPECT_EQ(d.open().size(), 269) << config;
    }
  Directory d;
  d.write("tokenizer.json", small::sentencepiece());
  d.write("tokenizer_config.json", std::string(R"({"pad_token": "[PAD]", "eos_token": null,
      "extra_special_tokens": null, "add_bos_token": true, "model_max_length": 1e30,
      "chat_template": "x", "tokenizer_class": "TokenizersBackend", "backend": "tokenizers",
      "clean_up_tokenization_spaces": true, "padding_side": "left", "sp_model_kwargs": {}})"));
  EXPECT_EQ(d.open().size(), 269);
  EXPECT_EQ(d.open().eos(), -1);
}

// vocab.json and merges.txt do not say which words: the class does.
TEST(Tokenizer, VocabAndMergesByClass) {
  const Json file = small::byte_level();
  Directory d;
  d.write("vocab.json", file["model"]["vocab"]);
  d.write("merges.txt", std::string("#version: 0.2\na b\r\n\u0120 a\nb c\n\n\u0120a b"));
  const std::string text = "ab e\u0301'S\n";
  const Ids qwen2 = {256, ' ', 0xC3, 0xA9, '\'', 'S', '\n'};
  EXPECT_EQ(d.open().encode(text, Specials::as_text), qwen2);
  EXPECT_EQ(small::opened(file).encode(text, Specials::as_text), qwen2);
  for (const char* name : {"Qwen2Tokenizer", "Qwen2TokenizerFast"}) {
    d.write("tokenizer_config.json", Json{{"tokenizer_class", name}, {"add_prefix_space", false}});
    EXPECT_EQ(d.open().encode(text, Specials::as_text), qwen2);
  }
  d.write("tokenizer_config.json", Json{{"tokenizer_class", "GPT2Tokenizer"}});
  EXPECT_EQ(d.open().encode(text, Specials::as_text),
            (Ids{256, ' ', 'e', 0xCC, 0x81, '\'', 'S', '\n'}));
  d.write("tokenizer_config.json",
          Json{{"tokenizer_class", "GPT2TokenizerFast"}, {"add_prefix_space", true}});
  EXPECT_EQ(d.open().encode("ab", Specials::as_text), (Ids{' ', 256}));
  d.write("tokenizer_config.json", Json{{"tokenizer_class", "CLIPTokenizer"}});
  EXPECT_THROW(d.open(), Error);
}

TEST(Tokenizer, StreamNeverSplitsACharacter) {
  Directory d;
  d.write("tokenizer.json", small::sentencepiece().dump());
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
  d.write("tokenizer.json", small::sentencepiece().dump());
  const Tokenizer t = d.open();
  EXPECT_EQ(t.encode("a\xFF\xE2\x82", Specials::as_text),
            t.encode("a\uFFFD\uFFFD", Specials::as_text));
  EXPECT_EQ(t.decode(Ids{a, -1, 1 << 30}, true), "a");
}

// One change to a byte-level file; $S is the Split step, $B the ByteLevel one.
// Sequences within sequences, as deep as JSON may be.
TEST(Tokenizer, NestedSequences) {
  Json file = small::sentencepiece();
  for (int i = 0; i < 200; ++i)
    file["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array({file["normalizer"]})}};
  EXPECT_EQ(small::opened(file).encode("a a", Specials::as_text), (Ids{a, space, a}));
}

TEST(Tokenizer, AByteOrderMarkIsPassedOver) {
  Directory d;
  d.write("tokenizer.json", "\xEF\xBB\xBF" + small::sentencepiece().dump());
  d.write("tokenizer_config.json", std::string("\xEF\xBB\xBF{\"eos_token\": \"</s>\"}"));
  EXPECT_EQ(d.open().eos(), 2);
}

// What a post-processor puts around a text.
TEST(Tokenizer, Frames) {
  const std::pair<const char*, Ids> cases[] = {
      {"null", {a}},
      {R"({"type": "ByteLevel", "trim_offsets": false})", {a}},
      {R"({"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]})", {1, a, 2}},
      {R"({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1],
           "trim_offsets": true, "add_prefix_space": false})",
       {1, a, 2}},
      {R"({"type": "Sequence", "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing",
           "single": [{"SpecialToken": {"id": "X", "type_id": 0}},
                      {"Sequence": {"id": "A", "type_id": 0}}],
           "pair": [], "special_tokens": {"X": {"id": "X", "ids": [1, 1], "tokens": ["s", "s"]}}}]})",
       {1, 1, a}},
  };
  for (const auto& [processor, framed] : cases) {
    Json file = small::sentencepiece();
    file["post_processor"] = Json::parse(processor);
    EXPECT_EQ(small::opened(file).with_frame({a}), framed) << processor;
  }
}

// Decoders: HF's own results for the same files.
TEST(Tokenizer, DecodersOfSentencePiece) {
  const std::string mark =
                        R"({"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "})",
                    rest = R"({"type": "ByteFallback"}, {"type": "Fuse"})",
                    strip = R"({"type": "Strip", "content": " ", "start": 1, "stop": 0})",
                    meta = R"({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": )";
  const std::pair<std::string, const char*> cases[] = {
      {mark + "," + rest, "   a ab"},         {mark + "," + rest + "," + strip, "  a ab"},
      {rest, "\u2581\u2581\u2581a\u2581ab"},  {meta + "\"never\"}," + rest, "   a ab"},
      {meta + "\"first\"}," + rest, " a ab"},
  };
  for (const auto& [decoders, text] : cases) {
    Json file = small::sentencepiece();
    file["model"]["vocab"]["\u2581\u2581"] = 269;
    file["decoder"]["decoders"] = Json::parse("[" + decoders + "]");
    EXPECT_EQ(small::opened(file).decode(Ids{269, 259, 260, 259, 263}, true), text) << decoders;
  }
  Json file = small::sentencepiece();  // no bytes: they are texts like others
  file["model"]["byte_fallback"] = false;
  file["decoder"]["decoders"] = Json::parse("[" + mark + "]");
  EXPECT_EQ(small::opened(file).decode(Ids{3 + 'x', 260}, true), "<0x78>a");
}

// A byte-level vocabulary without some bytes.
TEST(Tokenizer, UnknownBytes) {
  Json file = small::byte_level();
  file["model"]["vocab"].erase("x");
  file["model"]["vocab"].erase("y");
  Directory d;
  d.write("tokenizer.json", file);
  EXPECT_NE(error_of(d).find("unk_token"), std::string::npos);
  file["model"]["unk_token"] = "z";
  EXPECT_EQ(small::opened(file).encode("axyb", Specials::as_text), (Ids{'a', 'z', 'z', 'b'}));
  file["model"]["fuse_unk"] = true;
  EXPECT_EQ(small::opened(file).encode("axyb", Specials::as_text), (Ids{'a', 'z', 'b'}));
}

}  // namespace
}  // namespace revenant
