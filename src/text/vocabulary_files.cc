#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/sentencepiece.h"
#include "text/side_files.h"
#include "text/unicode.h"
#include "text/vocabulary_json.h"

namespace revenant {
namespace {

void refuse_unsupported(const SentencePieceModel& model, const std::string& file) {
  const auto refuse = [&](bool wrong, const char* expected, const std::string& found) {
    if (wrong) throw Error("tokenizer", file, expected, found);
  };
  refuse(model.pieces.empty(), "a SentencePiece model", "no pieces");
  refuse(model.pieces.size() >= 1 << 24, "less than 16777216 pieces", "more");
  constexpr const char* types[] = {"", " (unigram)", " (BPE)", " (word)", " (char)"};
  const bool known = model.model_type >= 1 && model.model_type <= 4;
  refuse(model.model_type != 2, "a BPE model (type 2)",
         "type " + std::to_string(model.model_type) + types[known ? model.model_type : 0]);
  refuse(model.spaces_as_suffix, "spaces before words", "treat_whitespace_as_suffix");
  refuse(model.decoding_map, "decoded text taken as it is", "a denormalisation table");
  refuse(model.character_map, "text taken as it is", "a normalisation table");
  refuse(model.remove_extra_spaces, "all spaces kept", "extra ones removed");
  refuse(!model.escape_spaces, "spaces written as U+2581", "plain ones");
}

bool begins_character(char c) { return (uint8_t(c) & 0xC0) != 0x80; }

// A piece may be joined from any two others; better scores come first, equal ones are equal.
void add_merges(Vocabulary& v, const SentencePieceModel& model) {
  std::vector<float> scores;
  for (const SentencePiece& p : model.pieces) scores.push_back(p.score);
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  const auto mergeable = [&](std::string_view text) {
    const int32_t id = v.tokens.find(text);
    return id >= 0 && model.pieces[size_t(id)].type == SentencePiece::normal ? id : -1;
  };
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePiece& p = model.pieces[i];
    if (p.type != SentencePiece::normal) continue;
    const auto rank = std::lower_bound(scores.begin(), scores.end(), p.score, std::greater<>());
    for (size_t cut = 1; cut < p.text.size(); ++cut) {
      if (!begins_character(p.text[cut])) continue;
      const int32_t left = mergeable(p.text.substr(0, cut));
      const int32_t right = left < 0 ? -1 : mergeable(p.text.substr(cut));
      if (right >= 0) v.merges.insert(left, right, {int32_t(rank - scores.begin()), int32_t(i)});
    }
  }
}

void add_pieces(Vocabulary& v, const SentencePieceModel& model, const std::string& file) {
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePiece& p = model.pieces[i];
    if (p.text.size() > 1024)
      throw Error("tokenizer", file, "pieces of at most 1024 bytes", "longer");
    if (!std::isfinite(p.score)) throw Error("tokenizer", file, "finite scores", "another");
    // No text becomes one of several characters: it is joined from nothing.
    if (p.type == SentencePiece::unused && std::ranges::count_if(p.text, begins_character) < 2)
      throw Error("tokenizer", file, "no unused piece of one character", std::string(p.text));
    if (p.type == SentencePiece::byte && !model.byte_fallback)
      throw Error("tokenizer", file, "no byte pieces without byte_fallback", std::string(p.text));
    if (!v.tokens.insert(p.text, int32_t(i)))
      throw Error("tokenizer", file, "each piece once", "'" + std::string(p.text) + "' again");
  }
  v.added_at.assign(size_t(v.tokens.size()), -1);
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePiece& p = model.pieces[i];
    if (p.type == SentencePiece::normal || p.type == SentencePiece::byte ||
        p.type == SentencePiece::unused)
      continue;
    AddedToken token;
    token.content = p.text;
    token.id = int32_t(i);
    token.special = p.type != SentencePiece::user_defined;
    add_token(v, token, file);
  }
}

// tokenizer_config.json may take the model's space before a text away; it cannot bring one.
bool dummy_prefix(const SentencePieceModel& model, const FileSet& files) {
  const auto wanted = config_flag(files, "add_prefix_space");
  if (wanted.value_or(false) && !model.dummy_prefix)
    throw Error("tokenizer", files.place_of("tokenizer_config.json") + ": add_prefix_space",
                "false, as tokenizer.model has it", "true");
  return wanted.value_or(model.dummy_prefix);
}

Vocabulary read_sentencepiece_file(const FileSet& files) {
  const std::string file = files.read("tokenizer.model"), place = files.place_of("tokenizer.model");
  const SentencePieceModel model = read_sentencepiece(file, place);
  refuse_unsupported(model, place);
  Vocabulary v;
  add_pieces(v, model, place);
  add_merges(v, model);
  const bool prefix = dummy_prefix(model, files);
  v.first_space = prefix ? FirstSpace::drop_one : FirstSpace::keep;
  if (config_flag(files, "legacy").value_or(true)) {
    if (prefix) v.normaliser.push_back({NormalStep::prepend, "", std::string(space_mark)});
    v.normaliser.push_back({NormalStep::replace, " ", std::string(space_mark)});
  } else {
    v.metaspace = true;
    v.mark = prefix ? SpaceMark::first : SpaceMark::none;
  }
  v.byte_fallback = v.bytes_decoded = model.byte_fallback;
  fill_bytes(v);
  v.fuse_unknown = true;
  v.unknown = model.unknown;
  const auto control = [&](int id) { return v.added_token(id) ? id : -1; };
  v.bos = control(model.bos);
  v.eos = control(model.eos);
  if (v.added_token(v.unknown) == nullptr)
    throw Error("tokenizer", place, "an unknown piece", "none");
  if (v.bos >= 0 && config_flag(files, "add_bos_token").value_or(true)) v.before = {v.bos};
  if (v.eos >= 0 && config_flag(files, "add_eos_token").value_or(false)) v.after = {v.eos};
  return v;
}

Vocabulary read_main_file(const FileSet& files) {
  if (files.has("tokenizer.json")) return read_tokenizer_json(files);
  if (files.has("tokenizer.model")) return read_sentencepiece_file(files);
  if (files.has("vocab.json") && files.has("merges.txt")) return read_vocab_and_merges(files);
  throw Error("tokenizer", files.origin().string(),
              "tokenizer.json, tokenizer.model, or vocab.json with merges.txt",
              std::filesystem::exists(files.origin()) ? "none of them" : "no such directory");
}

}  // namespace

Vocabulary open_vocabulary(const FileSet& files) {
  Vocabulary v = read_main_file(files);
  read_side_files(v, files);
  index_added(v);
  return v;
}

}  // namespace revenant
