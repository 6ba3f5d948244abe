#include "text/vocabulary.h"

#include "base/error.h"
#include "text/unicode.h"

namespace revenant {
namespace {

struct Letters {
  std::array<char32_t, 256> of_byte{};
  std::array<int16_t, 512> of_letter{};
};

// Printable Latin-1 stands for itself; the rest is numbered upwards from U+0100.
Letters make_letters() {
  Letters t;
  t.of_letter.fill(-1);
  char32_t next = 256;
  for (char32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    t.of_byte[b] = printable ? b : next++;
    t.of_letter[t.of_byte[b]] = int16_t(b);
  }
  return t;
}

const Letters& letters() {
  static const Letters table = make_letters();
  return table;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  size_t done = 0;
  for (size_t at; (at = text.find(from, done)) != std::string_view::npos; done = at + from.size())
    out.append(text, done, at - done).append(to);
  return out.append(text, done);
}

}  // namespace

char32_t letter_of_byte(uint8_t byte) { return letters().of_byte[byte]; }

int byte_of_letter(char32_t letter) { return letter < 512 ? letters().of_letter[letter] : -1; }

std::string normalise(const Vocabulary& v, std::string_view valid) {
  std::string text(valid);
  for (const NormalStep& step : v.normaliser) {
    if (step.kind == NormalStep::nfc) text = nfc(text);
    if (step.kind == NormalStep::replace) text = replace_all(text, step.from, step.to);
    if (step.kind == NormalStep::prepend && !text.empty()) text.insert(0, step.to);
  }
  return text;
}

void add_token(Vocabulary& v, const AddedToken& token, const std::string& file) {
  if (token.id < 0 || token.id > largest_id)
    throw Error("tokenizer", file,
                "the id of '" + token.content + "' in 0.." + std::to_string(largest_id),
                std::to_string(token.id));
  const auto named = v.added_names.find(token.content);
  const AddedToken* known =
      named == v.added_names.end() ? v.added_token(token.id) : &v.added[size_t(named->second)];
  if (known && (known->id != token.id || known->content != token.content))
    throw Error("tokenizer", file, "'" + known->content + "' as token " + std::to_string(known->id),
                "'" + token.content + "' as token " + std::to_string(token.id));
  if (known) {
    AddedToken& old = v.added[size_t(named->second)];
    if (token.special && !old.special) old.normalized = false;
    old.special |= token.special;
    return;
  }
  const int32_t in_model = v.tokens.find(token.content);
  if (in_model >= 0 && in_model != token.id)
    throw Error("tokenizer", file, "'" + token.content + "' as token " + std::to_string(in_model),
                std::to_string(token.id));
  if (token.id >= v.size()) v.added_at.resize(size_t(token.id) + 1, -1);
  v.added_at[size_t(token.id)] = v.added_names[token.content] = int32_t(v.added.size());
  v.added.push_back(token);
}

void index_added(Vocabulary& v) {
  v.raw = v.normalized = {};
  for (size_t i = 0; i < v.added.size(); ++i) {
    const AddedToken& t = v.added[i];
    t.normalized ? v.normalized.insert(normalise(v, t.content), int32_t(i))
                 : v.raw.insert(t.content, int32_t(i));
  }
}

}  // namespace revenant
