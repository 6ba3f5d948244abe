#include "text/made_up.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/protobuf.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

// Special tokens and where they begin. Source: papers.md, 3.2.
struct Block {
  int first;
  std::vector<std::string> tokens;
};

const std::vector<std::string> image_tokens = {
    "<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"};

struct Layout {
  int pieces = 0;  // of the main file
  std::vector<Block> specials;
  bool byte_level = false;    // else SentencePiece
  bool both_files = false;    // tokenizer.json beside tokenizer.model
  bool space_first = false;   // SentencePiece's dummy prefix
  std::string bos, eos, pad;  // empty: none
};

Layout qwen2() {
  Layout l;
  l.pieces = 151643;
  l.specials = {{151643, {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}}, {151646, image_tokens}};
  l.byte_level = true;
  l.eos = "<|im_end|>";
  l.pad = "<|endoftext|>";
  return l;
}

const Block framing = {0, {"<unk>", "<s>", "</s>"}};

Layout internlm2(bool trol) {
  Layout l;
  l.pieces = 92544;
  l.bos = "<s>";
  l.eos = l.pad = "</s>";
  Block slots{92538, {}};
  for (int i = 141; i <= 146; ++i)
    slots.tokens.push_back("[UNUSED_TOKEN_" + std::to_string(i) + "]");
  if (!trol)
    slots.tokens = {"<|plugin|>",       "<|interpreter|>", "<|action_end|>",
                    "<|action_start|>", "<|im_end|>",      "<|im_start|>"};
  l.specials = {framing, slots};
  if (!trol) l.specials.push_back({92544, image_tokens});
  return l;
}

Layout phi3(bool trol) {
  Layout l;
  l.pieces = 32000;
  l.both_files = l.space_first = true;
  l.bos = "<s>";
  l.eos = trol ? "</s>" : "<|end|>";
  l.pad = "<|endoftext|>";
  l.specials = {framing,
                {32000,
                 {"<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>",
                  "<|placeholder3|>", "<|placeholder4|>", "<|system|>", "<|end|>",
                  "<|placeholder5|>", "<|placeholder6|>", "<|user|>"}},
                {32011, image_tokens}};
  return l;
}

Layout layout_of(PromptFamily family) {
  switch (family) {
    case PromptFamily::phantom_qwen2:
      break;
    case PromptFamily::phantom_internlm2:
      return internlm2(false);
    case PromptFamily::trol_internlm2:
      return internlm2(true);
    case PromptFamily::phantom_phi3:
      return phi3(false);
    case PromptFamily::trol_phi3:
      return phi3(true);
  }
  return qwen2();
}

// All strings of 2, 3, 4, ... letters, so that the start of each is a piece before it.
std::string letters(int number) {
  int length = 2, count = 26 * 26;
  while (number >= count) number -= count, count *= 26, ++length;
  std::string word(size_t(length), 'a');
  for (size_t i = word.size(); i-- > 0; number /= 26) word[i] = char('a' + number % 26);
  return word;
}

std::string byte_piece(int byte) {
  char text[8];
  std::snprintf(text, sizeof text, "<0x%02X>", unsigned(byte));
  return text;
}

std::string letter_piece(int byte) {
  std::string text;
  append_code(text, letter_of_byte(uint8_t(byte)));
  return text;
}

struct Pieces {
  std::vector<std::string> texts;  // by id
  int first_ordinary = 0;          // before: specials and bytes
};

Pieces pieces_of(const Layout& l) {
  Pieces p;
  if (!l.byte_level) p.texts = framing.tokens;
  for (int byte = 0; byte < 256; ++byte)
    p.texts.push_back(l.byte_level ? letter_piece(byte) : byte_piece(byte));
  p.first_ordinary = int(p.texts.size());
  if (!l.byte_level) {
    p.texts.emplace_back(space_mark);
    for (char c = '!'; c <= '~'; ++c) p.texts.push_back(std::string(1, c));
  }
  for (int i = 0; int(p.texts.size()) < l.pieces; ++i) p.texts.push_back(letters(i));
  for (const Block& block : l.specials)
    for (size_t i = 0; i < block.tokens.size(); ++i)
      if (const size_t id = size_t(block.first) + i; id < p.texts.size())
        p.texts[id] = block.tokens[i];
  return p;
}

// Every way to cut a piece into two others, "left right", in the order of the joined pieces.
std::vector<std::string> merges_of(const Pieces& p) {
  std::unordered_map<std::string_view, int> known;
  for (size_t id = 0; id < p.texts.size(); ++id) known.emplace(p.texts[id], int(id));
  std::vector<std::string> merges;
  for (size_t id = size_t(p.first_ordinary); id < p.texts.size(); ++id) {
    const std::string_view text = p.texts[id];
    for (size_t cut = 1; cut < text.size(); ++cut)
      if (known.contains(text.substr(0, cut)) && known.contains(text.substr(cut)))
        merges.push_back(std::string(text.substr(0, cut)) + " " + std::string(text.substr(cut)));
  }
  return merges;
}

// --- tokenizer.model, a protobuf; fields as in sentencepiece_model.proto ---

using protobuf::bytes, protobuf::number, protobuf::real;

std::string sentencepiece_of(const Layout& l, const Pieces& p) {
  constexpr int unknown = 2, control = 3, byte = 6, bpe = 2;
  std::string file;
  for (int id = 0; id < int(p.texts.size()); ++id) {
    const bool ordinary = id >= p.first_ordinary;
    const float score = ordinary ? float(p.first_ordinary - id) : 0.0f;
    const int type = id == 0 ? unknown : id < int(framing.tokens.size()) ? control : byte;
    file += bytes(1, bytes(1, p.texts[size_t(id)]) + real(2, score) +
                         (ordinary ? "" : number(3, uint64_t(type))));
  }
  const std::string trainer = number(3, bpe) + number(4, p.texts.size()) + number(35, 1) +
                              number(40, 0) + number(41, 1) + number(42, 2);
  const std::string normaliser =
      bytes(1, "identity") + number(3, l.space_first) + number(4, 0) + number(5, 1);
  return file + bytes(2, trainer) + bytes(3, normaliser);
}

// --- the JSON files ---

// Phi-3's own tokens swallow the white space after them; frames and picture tokens do not.
Json added_json(const std::string& token, bool rstrip) {
  return {{"content", token}, {"lstrip", false},      {"normalized", false},
          {"rstrip", rstrip}, {"single_word", false}, {"special", true}};
}

bool swallows(const Layout& l, int id) { return l.both_files && id > 32000 && id < 32011; }

// fn(id, token)
template <class F>
void each_special(const Layout& l, const F& fn) {
  for (const Block& block : l.specials)
    for (size_t i = 0; i < block.tokens.size(); ++i) fn(block.first + int(i), block.tokens[i]);
}

Json llama_parts() {
  const Json space = {{"String", space_mark}};
  return {{"normalizer",
           {{"type", "Sequence"},
            {"normalizers",
             {{{"type", "Prepend"}, {"prepend", space_mark}},
              {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space_mark}}}}}},
          {"pre_tokenizer", nullptr},
          {"decoder",
           {{"type", "Sequence"},
            {"decoders",
             {{{"type", "Replace"}, {"pattern", space}, {"content", " "}},
              {{"type", "ByteFallback"}},
              {{"type", "Fuse"}},
              {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
          {"model", {{"byte_fallback", true}, {"fuse_unk", true}, {"unk_token", "<unk>"}}}};
}

Json qwen2_parts() {
  const Json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", false},
                      {"use_regex", false}};
  const Json words = {{"type", "Split"},
                      {"pattern", {{"Regex", qwen2_expression}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  return {{"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {words, bytes}}}},
          {"decoder", bytes},
          {"post_processor", bytes},
          {"model", {{"byte_fallback", false}, {"fuse_unk", false}, {"unk_token", nullptr}}}};
}

Json vocabulary_json(const Pieces& p) {
  Json vocabulary = Json::object();
  for (size_t id = 0; id < p.texts.size(); ++id) vocabulary[p.texts[id]] = id;
  return vocabulary;
}

Json tokenizer_json(const Layout& l, const Pieces& p, const std::vector<std::string>& merges) {
  Json json = l.byte_level ? qwen2_parts() : llama_parts();
  json["version"] = "1.0";
  json["model"]["type"] = "BPE";
  json["model"]["vocab"] = vocabulary_json(p);
  json["model"]["merges"] = merges;
  each_special(l, [&](int id, const std::string& token) {
    Json added = added_json(token, swallows(l, id));
    added["id"] = id;
    json["added_tokens"].push_back(added);
  });
  return json;
}

void write_side_files(const Path& directory, const Layout& l) {
  Json added = Json::object(), named = Json::object(), decoder = Json::object();
  each_special(l, [&](int id, const std::string& token) {
    if (id >= l.pieces) added[token] = id;
    decoder[std::to_string(id)] = added_json(token, swallows(l, id));
    if (id > 2) named["additional_special_tokens"].push_back(token);
  });
  if (!l.byte_level) named["unk_token"] = "<unk>";
  if (!l.bos.empty()) named["bos_token"] = l.bos;
  named["eos_token"] = l.eos;
  named["pad_token"] = l.pad;
  Json config = named;
  config["added_tokens_decoder"] = decoder;
  config["clean_up_tokenization_spaces"] = false;
  config["add_bos_token"] = !l.bos.empty();
  config["add_eos_token"] = false;
  config["tokenizer_class"] = l.byte_level   ? "Qwen2Tokenizer"
                              : l.both_files ? "LlamaTokenizer"
                                             : "InternLM2Tokenizer";
  if (!added.empty()) write_file(directory / "added_tokens.json", added.dump(2) + "\n");
  write_file(directory / "special_tokens_map.json", named.dump(2) + "\n");
  write_file(directory / "tokenizer_config.json", config.dump(2) + "\n");
}

}  // namespace

void write_made_up_tokenizer(const Path& directory, PromptFamily family) {
  const Layout l = layout_of(family);
  const Pieces p = pieces_of(l);
  if (!l.byte_level) write_file(directory / "tokenizer.model", sentencepiece_of(l, p));
  if (l.byte_level || l.both_files) {
    const std::vector<std::string> merges = merges_of(p);
    write_file(directory / "tokenizer.json", tokenizer_json(l, p, merges).dump() + "\n");
    if (l.byte_level) {
      std::string lines = "#version: 0.2\n";
      for (const std::string& merge : merges) lines += merge + "\n";
      write_file(directory / "merges.txt", lines);
      write_file(directory / "vocab.json", vocabulary_json(p).dump() + "\n");
    }
  }
  write_side_files(directory, l);
}

}  // namespace revenant
