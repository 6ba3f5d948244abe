// Text to token ids and back, from the tokenizer files of a Hugging Face directory: byte-level BPE
// (Qwen2, GPT-2) and SentencePiece BPE with byte fallback (Llama, Phi-3, InternLM2).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file_set.h"

namespace revenant {

struct Vocabulary;

// as_text: what users type; nothing in it can become a special or added token.
// as_tokens: templates and test data.
enum class Specials { as_text, as_tokens };

// Part of a text as ids: `begin` is where its text starts. Added tokens are a part each.
struct TokenPart {
  size_t begin;
  bool added;
  std::vector<int32_t> ids;
};

// Immutable and cheap to copy; all members are safe to call from many threads.
class Tokenizer {
 public:
  // Reads tokenizer.json, else tokenizer.model, else vocab.json with merges.txt, and beside them
  // added_tokens.json, special_tokens_map.json and tokenizer_config.json. Throws Error.
  static Tokenizer open(const FileSet& files);
  // The same with one more special token at id size(); unchanged if the token is there already.
  Tokenizer with_token(std::string_view content) const;

  std::vector<int32_t> encode(std::string_view text, Specials specials) const;
  // Added tokens count only where they lie inside one of `trusted`: ascending byte ranges.
  std::vector<TokenPart> encode_parts(std::string_view text,
                                      std::span<const std::pair<size_t, size_t>> trusted) const;
  // What the file's post-processor adds (Llama: a BOS). Prompts of these models never use it.
  std::vector<int32_t> with_frame(const std::vector<int32_t>& ids) const;

  // Broken UTF-8 becomes U+FFFD, each maximal part; ids that do not exist are left out.
  std::string decode(std::span<const int32_t> ids, bool keep_special) const;

  int32_t id_of(std::string_view token) const;  // -1: none
  std::string_view token_of(int32_t id) const;  // as spelt in the files; empty: none
  std::string bytes_of(int32_t id) const;       // what it decodes to, alone and unrepaired
  int32_t size() const;                         // largest id plus one
  bool is_special(int32_t id) const;
  int32_t bos() const;  // -1: the files name none
  int32_t eos() const;

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::shared_ptr<const Vocabulary> vocabulary);
  std::shared_ptr<const Vocabulary> vocabulary_;
};

// Decodes ids as they come. Never gives out half a character; all that it returns, joined, equals
// Tokenizer::decode of all ids.
class StreamDecoder {
 public:
  StreamDecoder(Tokenizer tokenizer, bool keep_special)
      : tokenizer_(std::move(tokenizer)), keep_special_(keep_special) {}
  std::string push(int32_t id);
  std::string finish();

 private:
  Tokenizer tokenizer_;
  bool keep_special_, started_ = false;
  std::string pending_;  // the start of a character
};

}  // namespace revenant
