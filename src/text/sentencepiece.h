// The part of SentencePiece's `tokenizer.model` (a protobuf) that a BPE tokenizer needs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace revenant {

struct SentencePiece {
  enum Type { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };
  std::string_view text;  // into the file
  float score = 0;
  int type = normal;
};

struct SentencePieceModel {
  std::vector<SentencePiece> pieces;
  int model_type = 1;  // 1 unigram, 2 BPE, 3 word, 4 char
  bool byte_fallback = false;
  bool dummy_prefix = true, remove_extra_spaces = true, escape_spaces = true;
  bool spaces_as_suffix = false;
  bool character_map = false, decoding_map = false;
  int unknown = 0, bos = 1, eos = 2;
};

// `file` names the source in errors. Views point into `data`.
SentencePieceModel read_sentencepiece(std::string_view data, const std::string& file);

}  // namespace revenant
