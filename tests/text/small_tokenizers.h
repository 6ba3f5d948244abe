// Tokenizers small enough to write down, and a directory for them.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "support/temporary.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace revenant::small {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

struct Directory : Temporary {
  void write(const std::string& name, const std::string& text) { write_file(path / name, text); }
  void write(const std::string& name, const char* text) { write(name, std::string(text)); }
  void write(const std::string& name, const Json& json) { write(name, json.dump()); }
  Tokenizer open() { return Tokenizer::open(path); }
};

inline std::string error_of(const Directory& d) {
  try {
    Tokenizer::open(d.path);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

inline Tokenizer opened(const Json& tokenizer_json) {
  Directory d;
  d.write("tokenizer.json", tokenizer_json);
  return d.open();
}

// Llama's form: "abc" merges to ab + c, then abc; other characters are bytes, 3 + the byte.
inline Json sentencepiece() {
  Json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  constexpr char digits[] = "0123456789ABCDEF";
  for (int b = 0; b < 256; ++b)
    vocab[std::string("<0x") + digits[b >> 4] + digits[b & 15] + ">"] = 3 + b;
  int id = 259;
  for (const char* t : {"\u2581", "a", "b", "c", "ab", "abc", "<", "s", ">", "<s"}) vocab[t] = id++;
  const auto special = [](int i, const char* text) {
    return Json{{"id", i}, {"content", text}, {"special", true}, {"normalized", false}};
  };
  const Json mark = {{"String", "\u2581"}};
  return {
      {"model",
       {{"type", "BPE"},
        {"unk_token", "<unk>"},
        {"byte_fallback", true},
        {"vocab", vocab},
        {"merges", {"a b", "ab c", "< s", "<s >"}}}},
      {"normalizer", {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {{{"type", "Replace"}, {"pattern", mark}, {"content", " "}},
          {{"type", "ByteFallback"}},
          {{"type", "Fuse"}}}}}},
      {"added_tokens", {special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")}}};
}

// Qwen2's form: the 256 bytes, then "ab", " a", "bc", " ab".
inline Json byte_level() {
  Json vocab = Json::object();
  for (int b = 0; b < 256; ++b) {
    std::string letter;
    append_code(letter, letter_of_byte(uint8_t(b)));
    vocab[letter] = b;
  }
  int id = 256;
  for (const char* t : {"ab", "\u0120a", "bc", "\u0120ab"}) vocab[t] = id++;
  const Json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", false},
                      {"use_regex", false}};
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", qwen2_expression}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  return {
      {"model",
       {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a b", "\u0120 a", "b c", "\u0120a b"}}}},
      {"normalizer", {{"type", "NFC"}}},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", Json::array({split, bytes})}}},
      {"decoder", bytes},
      {"added_tokens", Json::array()}};
}

}  // namespace revenant::small
