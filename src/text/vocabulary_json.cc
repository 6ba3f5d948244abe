#include "text/vocabulary_json.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "text/unicode.h"

namespace revenant {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

std::string in_quotes(std::string_view text) { return std::string("'").append(text).append("'"); }

// A JSON file, the parser that owns it, and access that names the file in errors.
class Json {
 public:
  explicit Json(const Path& path) : name(path.string()) {
    const MappedFile file(path);
    if (file.text().empty()) fail("JSON", "an empty file");
    const auto error = parser_.parse(file.text().data(), file.text().size()).get(root);
    if (error) throw Error("tokenizer", name, "JSON", simdjson::error_message(error));
  }
  [[noreturn]] void fail(const std::string& expected, const std::string& found) const {
    throw Error("tokenizer", name, expected, found);
  }
  template <class T>
  T as(element e, const char* expected) const {
    T value;
    if (e.get(value)) fail(expected, describe(e));
    return value;
  }
  int32_t id(element e) const {
    const int64_t id = as<int64_t>(e, "a token id");
    if (id < 0 || id >= 1 << 24) fail("a token id below 16777216", std::to_string(id));
    return int32_t(id);
  }
  std::string text(element e) const { return std::string(as<std::string_view>(e, "a string")); }

  element root;
  std::string name;

 private:
  static std::string describe(element e) {
    const std::string text = simdjson::minify(e);
    return text.size() > 60 ? repaired(text.substr(0, 60)) + "..." : text;
  }
  simdjson::dom::parser parser_;
};

// A member that is there and not null.
std::optional<element> member(element e, std::string_view key) {
  element value;
  if (e.at_key(key).get(value) || value.is_null()) return std::nullopt;
  return value;
}

bool flag(const Json& json, element e, std::string_view key, bool otherwise = false) {
  const auto value = member(e, key);
  return value ? json.as<bool>(*value, "true or false") : otherwise;
}

std::string type_of(const Json& json, element e) {
  const auto type = member(e, "type");
  return type ? json.text(*type) : "";
}

// The element itself, or the elements of {"type": "Sequence", KEY: [...]}.
std::vector<element> steps_of(const Json& json, element e, std::string_view key) {
  if (type_of(json, e) != "Sequence") return {e};
  const auto list = member(e, key);
  if (!list) json.fail("a list " + in_quotes(key), "none");
  std::vector<element> steps;
  for (const element step : json.as<array>(*list, "a list")) steps.push_back(step);
  return steps;
}

std::string pattern_text(const Json& json, element step, const char* kind) {
  const auto pattern = member(step, "pattern");
  const auto text = pattern ? member(*pattern, kind) : std::nullopt;
  if (!text) json.fail(std::string("a pattern of kind ") + kind, "another");
  return json.text(*text);
}

std::string required_text(const Json& json, element step, const char* key) {
  const auto value = member(step, key);
  if (!value) json.fail("a member " + in_quotes(key), "none");
  return json.text(*value);
}

// Replacements multiply: a few that each make one letter sixteen would ask for any memory.
void check_growth(const Json& json, const Vocabulary& v) {
  constexpr double most = 1000;
  double growth = 1;
  for (const NormalStep& step : v.normaliser)
    if (step.kind == NormalStep::replace)
      growth *= std::max(1.0, double(step.to.size()) / double(step.from.size()));
  if (growth > most)
    json.fail("a normalizer that makes a text at most 1000 times as long", "a longer one");
}

void read_normaliser(const Json& json, element normaliser, Vocabulary& v) {
  for (const element step : steps_of(json, normaliser, "normalizers")) {
    const std::string type = type_of(json, step);
    if (type == "NFC") {
      v.normaliser.push_back({NormalStep::nfc, "", ""});
    } else if (type == "Prepend") {
      v.normaliser.push_back({NormalStep::prepend, "", required_text(json, step, "prepend")});
    } else if (type == "Replace") {
      const std::string from = pattern_text(json, step, "String");
      if (from.empty()) json.fail("something to replace", "nothing");
      v.normaliser.push_back({NormalStep::replace, from, required_text(json, step, "content")});
    } else {
      json.fail("normalizer NFC, Prepend or Replace", in_quotes(type));
    }
  }
  check_growth(json, v);
}

void read_metaspace(const Json& json, element step, Vocabulary& v) {
  if (flag(json, step, "split", true)) json.fail("Metaspace without split", "with");
  v.metaspace = true;
  const auto scheme = member(step, "prepend_scheme");
  const std::string name = scheme ? json.text(*scheme) : "always";
  v.mark = name == "first"   ? SpaceMark::first
           : name == "never" ? SpaceMark::none
                             : SpaceMark::always;
}

void read_pre_tokeniser(const Json& json, element pre, Vocabulary& v) {
  for (const element step : steps_of(json, pre, "pretokenizers")) {
    const std::string type = type_of(json, step);
    if (type == "ByteLevel") {
      v.byte_level = true;
      v.prefix_space = flag(json, step, "add_prefix_space", true);
      if (flag(json, step, "use_regex", true)) v.pattern = WordPattern::gpt2;
    } else if (type == "Split") {
      const std::string expression = pattern_text(json, step, "Regex");
      if (expression != qwen2_expression && expression != llama3_expression)
        json.fail("the word pattern of Qwen2 or Llama 3", in_quotes(expression));
      v.pattern = expression == qwen2_expression ? WordPattern::qwen2 : WordPattern::llama3;
    } else if (type == "Metaspace") {
      read_metaspace(json, step, v);
    } else {
      json.fail("pre_tokenizer ByteLevel, Split or Metaspace", in_quotes(type));
    }
  }
}

// Both decoder families come down to bytes a token (Tokenizer::bytes_of); what is left to read is
// whether one leading space is dropped.
void read_decoder(const Json& json, element decoder, Vocabulary& v) {
  for (const element step : steps_of(json, decoder, "decoders")) {
    const std::string type = type_of(json, step);
    const bool replace = type == "Replace" && pattern_text(json, step, "String") == space_mark;
    const bool plain = type == "ByteFallback" || type == "Fuse" || type == "ByteLevel";
    if (type == "Strip" || (type == "Metaspace" && v.mark != SpaceMark::none)) v.strip_first = true;
    if (!replace && !plain && type != "Strip" && type != "Metaspace")
      json.fail("decoder ByteLevel, Metaspace, Replace, ByteFallback, Fuse or Strip",
                in_quotes(type));
  }
}

void read_template(const Json& json, element processor, Vocabulary& v) {
  for (const element step : steps_of(json, processor, "processors")) {
    if (type_of(json, step) != "TemplateProcessing") continue;  // ByteLevel moves offsets only
    const auto single = member(step, "single");
    if (!single) json.fail("a template 'single'", "none");
    bool text_seen = false;
    for (const element part : json.as<array>(*single, "a list")) {
      const auto special = member(part, "SpecialToken");
      text_seen |= !special;
      if (!special) continue;
      const std::string name = required_text(json, *special, "id");
      const auto at = v.added_names.find(name);
      if (at == v.added_names.end()) json.fail("an added token", in_quotes(name));
      (text_seen ? v.after : v.before).push_back(v.added[size_t(at->second)].id);
    }
  }
}

AddedToken added_token(const Json& json, element e, int32_t id) {
  AddedToken token;
  token.id = id;
  token.content = required_text(json, e, "content");
  token.special = flag(json, e, "special");
  token.lstrip = flag(json, e, "lstrip");
  token.rstrip = flag(json, e, "rstrip");
  token.single_word = flag(json, e, "single_word");
  token.normalized = flag(json, e, "normalized", !token.special);
  return token;
}

void read_vocab(const Json& json, element vocab, Vocabulary& v) {
  const auto tokens = json.as<object>(vocab, "an object of tokens");
  v.tokens.reserve(tokens.size());
  for (const auto [name, id] : tokens)
    if (!v.tokens.insert(name, json.id(id)))
      json.fail("each token and id once", in_quotes(name) + " again");
  v.added_at.assign(size_t(v.tokens.size()), -1);
}

void add_merge(Vocabulary& v, const std::string& file, std::string_view left,
               std::string_view right, int32_t rank) {
  const int32_t l = v.tokens.find(left), r = v.tokens.find(right);
  thread_local std::string both;  // a merge file has hundreds of thousands of lines
  const int32_t joined = v.tokens.find(both.assign(left).append(right));
  if (l < 0 || r < 0 || joined < 0)
    throw Error("tokenizer", file, "merges of known tokens",
                in_quotes(left) + " + " + in_quotes(right));
  v.merges.insert(l, r, {rank, joined});
}

void add_merge_line(Vocabulary& v, const std::string& file, std::string_view line, int32_t rank) {
  const size_t space = line.find(' ');
  if (space == line.npos || line.find(' ', space + 1) != line.npos)
    throw Error("tokenizer", file, "a merge of two tokens", in_quotes(line));
  add_merge(v, file, line.substr(0, space), line.substr(space + 1), rank);
}

void read_merges(const Json& json, element merges, Vocabulary& v) {
  int32_t rank = 0;
  const auto list = json.as<array>(merges, "a list of merges");
  v.merges.reserve(list.size());
  for (const element merge : list) {
    if (merge.is_string()) {
      add_merge_line(v, json.name, merge.get_string().value(), rank++);
      continue;
    }
    const auto pair = json.as<array>(merge, "a merge");
    if (pair.size() != 2)
      json.fail("a merge of two tokens", "one of " + std::to_string(pair.size()));
    add_merge(v, json.name, json.as<std::string_view>(pair.at(0), "a token"),
              json.as<std::string_view>(pair.at(1), "a token"), rank++);
  }
}

void refuse_unsupported(const Json& json, element model) {
  const std::string type = type_of(json, model);
  if (type != "BPE" && !(type.empty() && member(model, "merges")))
    json.fail("a BPE model", in_quotes(type));
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto value = member(model, key);
    if (value && !(value->is_string() && value->get_string().value().empty()))
      json.fail("no " + in_quotes(key), "one");
  }
}

void read_model(const Json& json, element model, Vocabulary& v) {
  refuse_unsupported(json, model);
  const auto vocab = member(model, "vocab"), merges = member(model, "merges");
  if (!vocab || !merges) json.fail("a model with vocab and merges", "none");
  read_vocab(json, *vocab, v);
  read_merges(json, *merges, v);
  v.ignore_merges = flag(json, model, "ignore_merges");
  v.fuse_unknown = flag(json, model, "fuse_unk");
  if (const auto unknown = member(model, "unk_token"))
    v.unknown = v.tokens.find(json.text(*unknown));
}

void read_added_list(const Json& json, Vocabulary& v) {
  const auto list = member(json.root, "added_tokens");
  if (!list) return;
  for (const element e : json.as<array>(*list, "a list of added tokens")) {
    const auto id = member(e, "id");
    if (!id) json.fail("an added token with an id", "none");
    add_token(v, added_token(json, e, json.id(*id)), json.name);
  }
}

// A token of special_tokens_map.json or tokenizer_config.json: a string, or an object with content.
std::string token_name(const Json& json, element e) {
  return e.is_string() ? json.text(e) : required_text(json, e, "content");
}

void mark_special(Vocabulary& v, const std::string& name, const std::string& file) {
  const auto known = v.added_names.find(name);
  AddedToken token;
  token.content = name;
  token.id = known != v.added_names.end() ? v.added[size_t(known->second)].id : v.tokens.find(name);
  token.special = true;
  if (token.id >= 0) add_token(v, token, file);
}

void read_named_tokens(const Json& json, Vocabulary& v) {
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    const auto value = member(json.root, key);
    if (!value) continue;
    const std::string name = token_name(json, *value);
    mark_special(v, name, json.name);
    const auto at = v.added_names.find(name);
    if (at == v.added_names.end()) continue;
    if (std::string_view(key) == "bos_token") v.bos = v.added[size_t(at->second)].id;
    if (std::string_view(key) == "eos_token") v.eos = v.added[size_t(at->second)].id;
  }
  if (const auto more = member(json.root, "additional_special_tokens"))
    for (const element e : json.as<array>(*more, "a list of tokens"))
      mark_special(v, token_name(json, e), json.name);
}

int32_t id_of_key(const Json& json, std::string_view key) {
  int32_t id = -1;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  if (error != std::errc() || end != key.data() + key.size())
    json.fail("token ids as keys", in_quotes(key));
  return id;
}

}  // namespace

Vocabulary read_tokenizer_json(const Path& file) {
  const Json json(file);
  Vocabulary v;
  const auto model = member(json.root, "model");
  if (!model) json.fail("a member 'model'", "none");
  read_model(json, *model, v);
  read_added_list(json, v);
  if (const auto e = member(json.root, "normalizer")) read_normaliser(json, *e, v);
  if (const auto e = member(json.root, "pre_tokenizer")) read_pre_tokeniser(json, *e, v);
  if (const auto e = member(json.root, "decoder")) read_decoder(json, *e, v);
  if (const auto e = member(json.root, "post_processor")) read_template(json, *e, v);
  fill_bytes(v);
  if (v.unknown < 0 && std::count(v.bytes.begin(), v.bytes.end(), -1) > 0)
    json.fail("a token for every byte, or an unk_token", "neither");
  return v;
}

// Without tokenizer.json nothing says which words; Qwen2 is the one family that ships this form.
Vocabulary read_vocab_and_merges(const Path& vocab, const Path& merges) {
  const Json json(vocab);
  Vocabulary v;
  read_vocab(json, json.root, v);
  const MappedFile file(merges);
  std::string_view rest = file.text();
  int32_t rank = 0;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    if (!is_utf8(line)) throw Error("tokenizer", merges.string(), "UTF-8", "something else");
    add_merge_line(v, merges.string(), line, rank++);
  }
  v.normaliser.push_back({NormalStep::nfc, "", ""});
  v.pattern = WordPattern::qwen2;
  v.byte_level = true;
  fill_bytes(v);
  if (std::count(v.bytes.begin(), v.bytes.end(), -1) > 0)
    json.fail("a token for every byte", "some without");
  return v;
}

void fill_bytes(Vocabulary& v) {
  constexpr char digits[] = "0123456789ABCDEF";
  for (int b = 0; b < 256; ++b) {
    std::string name;
    if (v.byte_level)
      append_code(name, letter_of_byte(uint8_t(b)));
    else
      name = {'<', '0', 'x', digits[b >> 4], digits[b & 15], '>'};
    v.bytes[size_t(b)] = v.tokens.find(name);
  }
}

void read_side_files(Vocabulary& v, const Path& directory) {
  const Path config = directory / "tokenizer_config.json", added = directory / "added_tokens.json",
             special = directory / "special_tokens_map.json";
  std::optional<Json> settings;
  if (std::filesystem::exists(config)) settings.emplace(config);
  if (const auto list = settings ? member(settings->root, "added_tokens_decoder") : std::nullopt)
    for (const auto [key, e] : settings->as<object>(*list, "an object of added tokens"))
      add_token(v, added_token(*settings, e, id_of_key(*settings, key)), settings->name);
  if (std::filesystem::exists(added)) {
    const Json json(added);
    for (const auto [name, id] : json.as<object>(json.root, "an object of added tokens")) {
      AddedToken token;
      token.content = name;
      token.id = json.id(id);
      token.normalized = true;  // until special_tokens_map.json says that it is special
      add_token(v, token, json.name);
    }
  }
  if (std::filesystem::exists(special)) read_named_tokens(Json(special), v);
  if (settings) read_named_tokens(*settings, v);
}

std::optional<bool> config_flag(const Path& directory, const std::string& key) {
  const Path config = directory / "tokenizer_config.json";
  if (!std::filesystem::exists(config)) return std::nullopt;
  const Json json(config);
  const auto value = member(json.root, key);
  if (!value) return std::nullopt;
  return json.as<bool>(*value, "true or false");
}

}  // namespace revenant
