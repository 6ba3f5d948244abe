// Every way in which a small file can be malformed is one line of complaint.
#include "small_tokenizers.h"

namespace revenant {
namespace {

using small::Directory;
using small::error_of;
using small::Ids;
using small::Json;

TEST(TokenizerErrors, SettingsOfTheConfigThatAreNotHonoured) {
  const std::pair<const char*, const char*> faults[] = {
      {R"({"split_special_tokens": true})", "split_special_tokens"},
      {R"({"do_lower_case": true})", "do_lower_case"},
      {R"({"sp_model_kwargs": {"enable_sampling": true}})", "sp_model_kwargs.enable_sampling"},
      {R"({"add_prefix_space": true})", "add_prefix_space"},
      {R"({"added_tokens_decoder": {"x": {"content": "y"}}})", "added_tokens_decoder.x"},
      {R"({"added_tokens_decoder": {"1": {"content": "y"}}})", "'y'"},
      {R"({"added_tokens_decoder": {"300": {"content": "y", "stripped": true}}})", "stripped"},
      {R"([])", "object"},
  };
  for (const auto& [config, word] : faults) {
    Directory d;
    d.write("tokenizer.json", small::sentencepiece());
    d.write("tokenizer_config.json", std::string(config));
    const std::string what = error_of(d);
    EXPECT_NE(what.find(word), what.npos) << what;
    EXPECT_NE(what.find("tokenizer_config.json"), what.npos) << what;
  }
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
      {"/model/type", R"("WordPiece")", "BPE"},
      {"/model/merges/0", R"("a zz")", "zz"},
      {"/model/merges/0", R"("ab")", "merge"},
      {"/model/merges/0", R"("a b c")", "merge"},
      {"/model/merges/0", R"(["a"])", "merge"},
      {"/model/merges/0", R"(["a", 1])", "merge"},
      {"/model/merges/0", "7", "merge"},
      {"/model/merges/0", R"("b a")",
       "merges[0]: expected merges of known tokens, found 'b' + 'a'"},
      {"/model/merges", R"({"a": 1})", "model.merges: expected a list"},
      {"/model/vocab/a", "-1", "model.vocab.a: expected a token id"},
      {"/model/vocab/a", "5000000000", "id"},
      {"/model/vocab/a", "16777216", "id"},
      {"/model/vocab/a", R"("x")", "id"},
      {"/model/vocab/a", "261", "once"},
      {"/model/vocab", "[]", "object"},
      {"/model/dropout", "0.1", "dropout"},
      {"/model/end_of_word_suffix", R"("</w>")", "suffix"},
      {"/model/continuing_subword_prefix", R"("##")", "prefix"},
      {"/model/byte_fallback", R"("yes")", "model.byte_fallback: expected true or false"},
      {"/model/new_setting", "1", "new_setting"},
      {"/new_part", "1", "new_part"},
      {"/added_tokens/0/id", "2000000000", "id"},
      {"/added_tokens/0/id", "1", "token"},
      {"/added_tokens/0/content", "3", "added_tokens[0].content: expected a string"},
      {"/added_tokens/0/strip", "true", "strip"},
      {"/normalizer/type", R"("Lowercase")", "Lowercase"},
      {"/normalizer/type", R"("NFKC")", "NFKC"},
      {"/normalizer/pattern", R"({"String": ""})", "replace"},
      {"/normalizer/pattern", R"({"Regex": " "})", "String"},
      {"/normalizer/more", "1", "more"},
      {"/pre_tokenizer", R"({"type": "Digits"})", "Digits"},
      {"/pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated"})",
       "pattern"},
      {"/pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "split": false})", "U+2581"},
      {"/pre_tokenizer", R"({"type": "Metaspace", "replacement": "\u2581"})", "split"},
      {"/pre_tokenizer",
       R"({"type": "Metaspace", "replacement": "\u2581", "split": false, "prepend_scheme": "last"})",
       "last"},
      {"/pre_tokenizer",
       R"({"type": "Metaspace", "replacement": "\u2581", "split": false, "add_prefix_space": false})",
       "prepend_scheme"},
      {"/decoder", "null", "decoder: expected a value"},
      {"/decoder/decoders/0/type", R"("CTC")", "CTC"},
      {"/decoder/decoders/0/content", R"("_")", "decoders[0]: expected Replace of U+2581"},
      {"/decoder/decoders/1/type", R"("Fuse")", "ByteFallback"},
      {"/decoder/decoders/1/type", R"("ByteLevel")", "ByteLevel"},
      {"/decoder/decoders/2", R"({"type": "Strip", "content": " ", "start": 1, "stop": 0})",
       "Fuse"},
      {"/decoder/decoders/3", R"({"type": "Strip", "content": " ", "start": 2, "stop": 0})",
       "Strip"},
      {"/decoder/decoders/3", R"({"type": "Strip", "content": "x", "start": 1, "stop": 0})",
       "Strip"},
      {"/post_processor", R"({"type": "Foo"})", "Foo"},
      {"/post_processor", R"({"type": "TemplateProcessing", "single": [], "special_tokens": {}})",
       "A"},
      {"/model", "null", "model"},
  };
  for (const Fault& fault : faults) {
    Json file = small::sentencepiece();
    file[Json::json_pointer(fault.pointer)] = Json::parse(fault.value);
    Directory d;
    d.write("tokenizer.json", file.dump());
    const std::string what = error_of(d);
    EXPECT_NE(what.find(fault.word), what.npos) << fault.pointer << fault.value << ": " << what;
    EXPECT_TRUE(what.starts_with("[tokenizer]")) << what;
    EXPECT_EQ(what.find('\n'), what.npos) << what;
  }
}

TEST(TokenizerErrors, WordPatternsThatDoNotFitAreNamed) {
  const std::pair<const char*, const char*> faults[] = {
      {R"([$S "behavior": "Contiguous", "invert": true}, $B])", "Contiguous"},
      {R"([$S "behavior": "Removed", "invert": false}, $B])", "Removed"},
      {R"([$S "behavior": "Isolated"}, $S "behavior": "Isolated"}, $B])", "one Split"},
      {R"([$B, $S "behavior": "Isolated"}])", "before ByteLevel"},
      {R"([$S "behavior": "Isolated"}])", "ByteLevel"},
      {R"([$S "behavior": "Isolated"}, {"type": "ByteLevel", "add_prefix_space": false}])",
       "regex"},
      {R"([$S "behavior": "Isolated"}, {"type": "ByteLevel", "use_regex": false}])", "add_prefix"},
      {R"([$S}, $B])", "behavior"},
      {R"([$B, $B])", "once"},
  };
  for (const auto& [steps, word] : faults) {
    std::string text = steps;
    const auto put = [&](std::string_view name, const std::string& value) {
      for (size_t at; (at = text.find(name)) != text.npos;) text.replace(at, name.size(), value);
    };
    put("$S", R"({"type": "Split", "pattern": {"Regex": )" + Json(qwen2_expression).dump() + "},");
    put("},}", "}}");
    put("$B", R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})");
    Json file = small::byte_level();
    file["pre_tokenizer"]["pretokenizers"] = Json::parse(text);
    Directory d;
    d.write("tokenizer.json", file);
    const std::string what = error_of(d);
    EXPECT_NE(what.find(word), what.npos) << steps << ": " << what;
    EXPECT_NE(what.find("pre_tokenizer"), what.npos) << what;
  }
}

TEST(TokenizerErrors, DeepJsonSaysWhere) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "added_tokens.json", "vocab.json"})
    for (const std::string open : {"[", "{\"a\":"}) {
      Directory d;
      if (name != std::string("tokenizer.json") && name != std::string("vocab.json"))
        d.write("tokenizer.json", small::sentencepiece());
      d.write("merges.txt", std::string());
      std::string deep;
      for (int i = 0; i < 100'000; ++i) deep += open;
      d.write(name, deep);
      EXPECT_NE(error_of(d).find(name), std::string::npos);  // ends in the middle
      deep += "1";
      for (int i = 0; i < 100'000; ++i) deep += open == "[" ? ']' : '}';
      d.write(name, deep);
      const std::string what = error_of(d);
      EXPECT_NE(what.find(std::string(name) + ": byte "), what.npos) << what;
      EXPECT_NE(what.find("512 levels"), what.npos) << what;
    }
}

TEST(TokenizerErrors, TruncatedJson) {
  const std::string good = small::sentencepiece().dump();
  for (size_t size = 0; size < good.size(); size += 97) {
    Directory d;
    d.write("tokenizer.json", good.substr(0, size));
    EXPECT_TRUE(error_of(d).starts_with("[tokenizer]")) << size;
  }
}

}  // namespace
}  // namespace revenant
