// Everything that the files of a tokenizer say, in one struct; how they are read is in
// vocabulary_files.cc, what is done with it in tokenizer.cc.
#pragma once

#include <array>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/file_set.h"
#include "text/added.h"
#include "text/tables.h"
#include "text/words.h"

namespace revenant {

struct NormalStep {
  enum Kind { nfc, replace, prepend } kind;
  std::string from, to;  // prepend: `to` goes before a text that is not empty
};

enum class SpaceMark { none, first, always };  // Metaspace: where U+2581 is put before a text

// Spaces at the start of a decoded text, or all in its first token.
enum class FirstSpace { keep, drop_one, drop_all };

struct Vocabulary {
  StringTable tokens;
  PairTable merges;
  std::vector<AddedToken> added;
  std::unordered_map<std::string, int32_t> added_names;  // index into `added`
  std::vector<int32_t> added_at;  // by id: index into `added`, or -1; its size is the vocabulary's
  AddedMatcher raw, normalized;

  std::vector<NormalStep> normaliser;
  bool metaspace = false;  // spaces become U+2581
  SpaceMark mark = SpaceMark::none;
  WordPattern pattern = WordPattern::whole;
  bool digits_alone = false;   // while the file is read: cut out before the pattern
  bool prefix_space = false;   // byte-level: a space before a text that starts without one
  bool byte_level = false;     // tokens are spelt in the 256-letter byte alphabet
  bool ignore_merges = false;  // a word that is a token is that token
  bool byte_fallback = false;  // characters that are no token are spelt in <0xXX> tokens
  bool fuse_unknown = false;   // unknown characters in a row are one token
  bool bytes_decoded = false;  // <0xXX> tokens decode to bytes
  bool marks_decoded = true;   // U+2581 decodes to a space
  FirstSpace first_space = FirstSpace::keep;
  int32_t unknown = -1, bos = -1, eos = -1;
  std::array<int32_t, 256> bytes;  // id of a byte: alphabet letter, or <0xXX>; -1 if none

  std::vector<int32_t> before, after;  // what the post-processor puts around a text

  int32_t size() const { return int32_t(added_at.size()); }
  const AddedToken* added_token(int32_t id) const {
    const int32_t at = id >= 0 && id < size() ? added_at[size_t(id)] : -1;
    return at < 0 ? nullptr : &added[size_t(at)];
  }
  // An ordinary token, never an added one: plain text cannot spell those.
  int32_t plain_id(std::string_view text) const {
    const int32_t id = tokens.find(text);
    return id >= 0 && added_at[size_t(id)] >= 0 ? -1 : id;
  }
};

// Throws Error. The files are those of a Hugging Face directory.
Vocabulary open_vocabulary(const FileSet& files);
// Adds or updates a token; throws Error (subject `file`) if its id or name is taken.
void add_token(Vocabulary& v, const AddedToken& token, const std::string& file);
void index_added(Vocabulary& v);  // after the last add_token
std::string normalise(const Vocabulary& v, std::string_view valid);

// The letters that stand for bytes in byte-level vocabularies (GPT-2's table).
char32_t letter_of_byte(uint8_t byte);
int byte_of_letter(char32_t letter);  // -1: none

}  // namespace revenant
