#include "text/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "text/bpe.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace revenant {
namespace {

using Ids = std::vector<int32_t>;

Ids append(Ids ids, const Ids& more) {
  ids.insert(ids.end(), more.begin(), more.end());
  return ids;
}

std::string spelt_in_letters(std::string_view bytes) {
  std::string out;
  for (const char b : bytes) append_code(out, letter_of_byte(uint8_t(b)));
  return out;
}

void add_unknown(const Vocabulary& v, Ids& ids, bool after_unknown) {
  if (!(after_unknown && v.fuse_unknown)) ids.push_back(v.unknown);
}

// Characters that the vocabulary has as tokens, the others as bytes, else as the unknown token.
Ids symbols_of_characters(const Vocabulary& v, std::string_view word) {
  Ids ids;
  bool after_unknown = false;
  for (size_t i = 0; i < word.size();) {
    const auto character = word.substr(i, size_t(code_at(word, i).size));
    i += character.size();
    const int32_t id = v.plain_id(character);
    bool bytes = id < 0 && v.byte_fallback;
    for (const char b : character) bytes = bytes && v.bytes[uint8_t(b)] >= 0;
    const bool unknown = id < 0 && !bytes;
    if (id >= 0) ids.push_back(id);
    if (bytes)
      for (const char b : character) ids.push_back(v.bytes[uint8_t(b)]);
    if (unknown) add_unknown(v, ids, after_unknown);
    after_unknown = unknown;
  }
  return ids;
}

Ids symbols_of_bytes(const Vocabulary& v, std::string_view word) {
  Ids ids;
  bool after_unknown = false;
  for (const char b : word) {
    const int32_t id = v.bytes[uint8_t(b)];
    id >= 0 ? ids.push_back(id) : add_unknown(v, ids, after_unknown);
    after_unknown = id < 0;
  }
  return ids;
}

Ids encode_word(const Vocabulary& v, std::string_view word) {
  if (v.ignore_merges) {
    const int32_t id = v.plain_id(v.byte_level ? spelt_in_letters(word) : std::string(word));
    if (id >= 0) return {id};
  }
  return merge_pairs(v, v.byte_level ? symbols_of_bytes(v, word) : symbols_of_characters(v, word));
}

std::string with_marks(const Vocabulary& v, std::string_view text, bool first) {
  std::string out;
  for (const char c : text) c == ' ' ? out += space_mark : out += c;
  const bool wanted = v.mark == SpaceMark::always || (v.mark == SpaceMark::first && first);
  if (wanted && !out.starts_with(space_mark)) out.insert(0, space_mark);
  return out;
}

// Normalised text without added tokens.
Ids encode_plain(const Vocabulary& v, std::string_view text, bool first) {
  if (text.empty()) return {};
  std::string own;
  if (v.metaspace) text = own = with_marks(v, text, first);
  if (v.prefix_space && text[0] != ' ') text = own = std::string(" ").append(text);
  Ids ids;
  for (const auto word : split_words(text, v.pattern))
    ids = append(std::move(ids), encode_word(v, word));
  return ids;
}

// The trusted ranges that lie in [begin, end), counted from `begin`.
std::vector<Range> clipped(std::span<const Range> ranges, size_t begin, size_t end) {
  std::vector<Range> out;
  for (auto r = std::ranges::upper_bound(ranges, begin, {}, &Range::second);
       r != ranges.end() && r->first < end; ++r)
    out.push_back({std::max(r->first, begin) - begin, std::min(r->second, end) - begin});
  return out;
}

// Text between the tokens that are found in raw text: normalised, then searched for the tokens that
// are found in normalised text. Where only parts are trusted, offsets would be lost by normalising,
// so those are searched for before.
std::vector<TokenPart> encode_segment(const Vocabulary& v, std::string_view text, size_t begin,
                                      std::span<const Range> trusted) {
  const bool whole = trusted.size() == 1 && trusted[0] == Range{0, text.size()};
  std::vector<TokenPart> parts;
  const std::string normal = whole ? normalise(v, text) : std::string(text);
  const std::vector<Range> all = {{0, normal.size()}};
  for (const Segment& s : v.normalized.split(normal, whole ? all : trusted, v.added)) {
    const auto piece = std::string_view(normal).substr(s.begin, s.end - s.begin);
    const size_t at = whole ? begin : begin + s.begin;
    if (s.token >= 0) {
      parts.push_back({at, true, {v.added[size_t(s.token)].id}});
    } else {
      const bool first = begin == 0 && s.begin == 0;
      parts.push_back(
          {at, false, encode_plain(v, whole ? std::string(piece) : normalise(v, piece), first)});
    }
  }
  return parts;
}

}  // namespace

Tokenizer::Tokenizer(std::shared_ptr<const Vocabulary> v) : vocabulary_(std::move(v)) {}

Tokenizer Tokenizer::open(const FileSet& files) {
  return Tokenizer(std::make_shared<const Vocabulary>(open_vocabulary(files)));
}

Tokenizer Tokenizer::with_token(std::string_view content) const {
  if (id_of(content) >= 0) return *this;
  auto v = std::make_shared<Vocabulary>(*vocabulary_);
  AddedToken token;
  token.content = content;
  token.id = v->size();
  token.special = true;
  add_token(*v, token, "added token");
  index_added(*v);
  return Tokenizer(std::move(v));
}

std::vector<TokenPart> Tokenizer::encode_parts(std::string_view text,
                                               std::span<const Range> trusted) const {
  CHECK(is_utf8(text));
  const Vocabulary& v = *vocabulary_;
  std::vector<TokenPart> parts;
  for (const Segment& s : v.raw.split(text, trusted, v.added)) {
    if (s.token >= 0) {
      parts.push_back({s.begin, true, {v.added[size_t(s.token)].id}});
      continue;
    }
    const auto inside = clipped(trusted, s.begin, s.end);
    for (TokenPart& part :
         encode_segment(v, text.substr(s.begin, s.end - s.begin), s.begin, inside))
      parts.push_back(std::move(part));
  }
  return parts;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, Specials specials) const {
  const std::string valid = repaired(text);
  std::vector<Range> trusted;
  if (specials == Specials::as_tokens) trusted.push_back({0, valid.size()});
  Ids ids;
  for (const TokenPart& part : encode_parts(valid, trusted)) ids = append(std::move(ids), part.ids);
  return ids;
}

std::vector<int32_t> Tokenizer::with_frame(const std::vector<int32_t>& ids) const {
  return append(append(vocabulary_->before, ids), vocabulary_->after);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool keep_special) const {
  StreamDecoder stream(*this, keep_special);
  std::string text;
  for (const int32_t id : ids) text += stream.push(id);
  return text + stream.finish();
}

int32_t Tokenizer::id_of(std::string_view token) const {
  const auto added = vocabulary_->added_names.find(std::string(token));
  if (added != vocabulary_->added_names.end()) return vocabulary_->added[size_t(added->second)].id;
  return vocabulary_->plain_id(token);
}

std::string_view Tokenizer::token_of(int32_t id) const {
  if (const AddedToken* token = vocabulary_->added_token(id)) return token->content;
  return vocabulary_->tokens.has(id) ? vocabulary_->tokens.text_of(id) : std::string_view();
}

std::string Tokenizer::bytes_of(int32_t id) const {
  const std::string_view token = token_of(id);
  std::string out;
  if (vocabulary_->byte_level) {
    for (size_t i = 0; i < token.size();) {
      const Code c = code_at(token, i);
      const int byte = byte_of_letter(c.value);
      if (byte < 0) return std::string(token);  // not spelt in the byte alphabet
      out += char(byte);
      i += size_t(c.size);
    }
    return out;
  }
  if (vocabulary_->bytes_decoded && id >= 0 && token.size() == 6 && token.starts_with("<0x"))
    for (int b = 0; b < 256; ++b)
      if (vocabulary_->bytes[size_t(b)] == id) return std::string(1, char(b));
  if (!vocabulary_->marks_decoded) return std::string(token);
  for (size_t i = 0; i < token.size();) {
    const bool mark = token.substr(i).starts_with(space_mark);
    out += mark ? ' ' : token[i];
    i += mark ? space_mark.size() : 1;
  }
  return out;
}

int32_t Tokenizer::size() const { return vocabulary_->size(); }

bool Tokenizer::is_special(int32_t id) const {
  const AddedToken* token = vocabulary_->added_token(id);
  return token && token->special;
}

int32_t Tokenizer::bos() const { return vocabulary_->bos; }
int32_t Tokenizer::eos() const { return vocabulary_->eos; }

std::string StreamDecoder::push(int32_t id) {
  if (!keep_special_ && tokenizer_.is_special(id)) return {};
  std::string bytes = tokenizer_.bytes_of(id);
  if (!started_ && !bytes.empty()) {
    started_ = true;
    const FirstSpace first = tokenizer_.vocabulary_->first_space;
    if (first == FirstSpace::drop_one && bytes[0] == ' ') bytes.erase(0, 1);
    if (first == FirstSpace::drop_all) std::erase(bytes, ' ');
  }
  pending_ += bytes;
  std::string out;
  pending_.erase(0, append_repaired(out, pending_, false));
  return out;
}

std::string StreamDecoder::finish() {
  std::string out;
  append_repaired(out, pending_, true);
  pending_.clear();
  started_ = false;
  return out;
}

}  // namespace revenant
