#include "text/vocabulary_json.h"

#include <algorithm>

#include "base/error.h"
#include "text/side_files.h"
#include "text/unicode.h"

namespace revenant {
namespace {

using simdjson::dom::element;

std::string in_quotes(std::string_view text) { return std::string("'").append(text).append("'"); }

// The step itself, or all steps of {"type": "Sequence", KEY: [...]}, also within one another.
std::vector<Node> steps_of(const Node& whole, std::string_view key) {
  std::vector<Node> open = {whole}, steps;
  while (!open.empty()) {
    const Node step = open.back();
    open.pop_back();
    if (step.type() != "Sequence") {
      steps.push_back(step);
      continue;
    }
    step.allow({"type", key});
    const std::vector<Node> inner = step.required(key).items();
    open.insert(open.end(), inner.rbegin(), inner.rend());
  }
  return steps;
}

std::string pattern_text(const Node& step, const char* kind) {
  const Node pattern = step.required("pattern");
  const auto text = pattern.member(kind);
  if (!text) pattern.place().fail(std::string("a pattern of kind ") + kind, "another");
  return text->text();
}

// Replacements multiply: a few that each make one letter sixteen would ask for any memory.
void check_growth(const Place& place, const Vocabulary& v) {
  constexpr double most = 1000;
  double growth = 1;
  for (const NormalStep& step : v.normaliser)
    if (step.kind == NormalStep::replace)
      growth *= std::max(1.0, double(step.to.size()) / double(step.from.size()));
  if (growth > most) place.fail("steps that make a text at most 1000 times as long", "more");
}

void read_normaliser(const Node& normaliser, Vocabulary& v) {
  for (const Node& step : steps_of(normaliser, "normalizers")) {
    const std::string type = step.type();
    step.allow({"type", "prepend", "pattern", "content"});
    if (type == "NFC") {
      v.normaliser.push_back({NormalStep::nfc, "", ""});
    } else if (type == "Prepend") {
      v.normaliser.push_back({NormalStep::prepend, "", step.required("prepend").text()});
    } else if (type == "Replace") {
      const std::string from = pattern_text(step, "String");
      if (from.empty()) step.place().fail("something to replace", "nothing");
      v.normaliser.push_back({NormalStep::replace, from, step.required("content").text()});
    } else {
      step.place().fail("normalizer NFC, Prepend or Replace", in_quotes(type));
    }
  }
  check_growth(normaliser.place(), v);
}

SpaceMark mark_of(const Node& metaspace) {
  metaspace.allow(
      {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
  if (const Node mark = metaspace.required("replacement"); mark.text() != space_mark)
    mark.place().fail("U+2581", in_quotes(mark.text()));
  const auto scheme = metaspace.member("prepend_scheme");
  const std::string name = scheme ? scheme->text() : "always";
  if (name != "first" && name != "never" && name != "always")
    scheme->place().fail("first, never or always", in_quotes(name));
  if (name != "never" && !metaspace.flag("add_prefix_space", true))
    metaspace.place().fail("prepend_scheme never, as add_prefix_space is false", in_quotes(name));
  return name == "first" ? SpaceMark::first : name == "never" ? SpaceMark::none : SpaceMark::always;
}

void read_byte_level(const Node& step, Vocabulary& v) {
  step.allow({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  v.byte_level = true;
  v.prefix_space = step.flag("add_prefix_space", true);
  if (v.prefix_space && v.pattern != WordPattern::whole)
    step.place().fail("no add_prefix_space after a Split", "true");
  if (!step.flag("use_regex", true)) return;
  if (v.pattern != WordPattern::whole)
    step.place().fail("one step that cuts words", "use_regex after a Split");
  v.pattern = v.digits_alone ? WordPattern::digits_gpt2 : WordPattern::gpt2;
}

// Both patterns cover every text, so that what is done with the rest does not matter: only matches
// that are thrown away or joined again would.
void read_split(const Node& step, Vocabulary& v) {
  step.allow({"type", "pattern", "behavior", "invert"});
  const std::string expression = pattern_text(step, "Regex");
  if (expression != qwen2_expression && expression != llama3_expression)
    step.place().fail("the word pattern of Qwen2 or Llama 3", in_quotes(expression));
  const Node behaviour = step.required("behavior");
  const std::string name = behaviour.text();
  const bool known = name == "Isolated" || name == "MergedWithPrevious" || name == "MergedWithNext";
  if (!known && !(name == "Removed" && step.flag("invert")))
    behaviour.place().fail("Isolated, or Removed with invert", in_quotes(name));
  if (v.pattern != WordPattern::whole || v.byte_level)
    step.place().fail("one Split, before ByteLevel", "another order");
  v.pattern = expression == qwen2_expression ? WordPattern::qwen2 : WordPattern::llama3;
}

void read_pre_tokeniser(const Node& pre, Vocabulary& v) {
  const std::vector<Node> steps = steps_of(pre, "pretokenizers");
  for (const Node& step : steps) {
    const std::string type = step.type();
    if (type == "ByteLevel" && !v.byte_level) {
      read_byte_level(step, v);
    } else if (type == "Split") {
      read_split(step, v);
    } else if (type == "Digits" && !v.byte_level && v.pattern == WordPattern::whole) {
      step.allow({"type", "individual_digits"});
      if (!step.flag("individual_digits"))
        step.place().fail("Digits with individual_digits", "without");
      v.digits_alone = true;
    } else if (type == "Metaspace" && steps.size() == 1) {
      v.metaspace = true;
      v.mark = mark_of(step);
      if (step.flag("split", true)) step.place().fail("Metaspace without split", "with");
    } else {
      step.place().fail("pre_tokenizer ByteLevel, Split or Metaspace, once", in_quotes(type));
    }
  }
  if (v.pattern != WordPattern::whole && !v.byte_level)
    pre.place().fail("ByteLevel after Split", "none");
  if (v.digits_alone && v.pattern != WordPattern::digits_gpt2)
    pre.place().fail("ByteLevel with use_regex after Digits", "another");
}

void read_strip(const Node& step, bool fused, Vocabulary& v) {
  step.allow({"type", "content", "start", "stop"});
  const auto start = step.required("start").as<int64_t>("a number"),
             stop = step.required("stop").as<int64_t>("a number");
  if (step.required("content").text() != " " || start < 0 || start > 1 || stop != 0 || !fused)
    step.place().fail("Strip of one space at the start, after Fuse", "another");
  if (start == 1) v.first_space = FirstSpace::drop_one;
}

// What a SentencePiece vocabulary's tokens are decoded by.
void read_decoder(const Node& decoder, Vocabulary& v) {
  v.marks_decoded = false;
  bool fused = false;
  for (const Node& step : steps_of(decoder, "decoders")) {
    const std::string type = step.type();
    if (type == "Replace") {
      step.allow({"type", "pattern", "content"});
      if (pattern_text(step, "String") != space_mark || step.required("content").text() != " ")
        step.place().fail("Replace of U+2581 by a space", "another");
      v.marks_decoded = true;
    } else if (type == "Metaspace") {
      v.marks_decoded = true;
      if (mark_of(step) != SpaceMark::none) v.first_space = FirstSpace::drop_all;
    } else if (type == "ByteFallback") {
      v.bytes_decoded = true;
    } else if (type == "Fuse") {
      fused = true;
    } else if (type == "Strip") {
      read_strip(step, fused, v);
    } else {
      step.place().fail("decoder Metaspace, Replace, ByteFallback, Fuse or Strip", in_quotes(type));
    }
  }
  if (v.byte_fallback && !v.bytes_decoded)
    decoder.place().fail("ByteFallback, as the model has it", "none");
}

void check_byte_level_decoder(const Node& decoder) {
  for (const Node& step : steps_of(decoder, "decoders"))
    if (step.type() != "ByteLevel" && step.type() != "Fuse")
      step.place().fail("decoder ByteLevel, as the pre_tokenizer", in_quotes(step.type()));
}

void read_template(const Node& step, Vocabulary& v) {
  step.allow({"type", "single", "pair", "special_tokens"});
  bool text_seen = false;
  for (const Node& part : step.required("single").items()) {
    const auto special = part.member("SpecialToken");
    if (!special) {
      if (text_seen || part.required("Sequence").required("id").text() != "A")
        part.place().fail("the text 'A' once", "another");
      text_seen = true;
      continue;
    }
    const std::string name = special->required("id").text();
    for (const Node& id : step.required("special_tokens").required(name).required("ids").items())
      (text_seen ? v.after : v.before).push_back(id.id());
  }
  if (!text_seen) step.place().fail("a template with the text 'A'", "none");
}

// ["<s>", 1]
int32_t id_of_pair(const Node& pair) {
  const std::vector<Node> items = pair.items();
  if (items.size() != 2) pair.place().fail("a token and its id", "something else");
  return items[1].id();
}

void read_post_processor(const Node& processor, Vocabulary& v) {
  bool adds = false;
  for (const Node& step : steps_of(processor, "processors")) {
    const std::string type = step.type();
    if (type == "ByteLevel") continue;  // moves offsets only
    const bool pair = type == "BertProcessing" || type == "RobertaProcessing";
    if (adds || (!pair && type != "TemplateProcessing"))
      step.place().fail(
          "ByteLevel and one of TemplateProcessing, BertProcessing, RobertaProcessing",
          in_quotes(type));
    adds = true;
    if (!pair) {
      read_template(step, v);
      continue;
    }
    step.allow({"type", "sep", "cls", "trim_offsets", "add_prefix_space"});
    v.before = {id_of_pair(step.required("cls"))};
    v.after = {id_of_pair(step.required("sep"))};
  }
}

void read_vocab(const Node& vocab, Vocabulary& v) {
  const auto tokens = vocab.as<simdjson::dom::object>("an object of tokens");
  v.tokens.reserve(tokens.size());
  for (const auto [name, value] : tokens) {
    int64_t id = -1;
    const bool good = !value.get(id) && id >= 0 && id <= largest_id;
    // No place is made for the good ones: there are hundreds of thousands.
    if (!good) Node(value, vocab.place() / name).id();
    if (!v.tokens.insert(name, int32_t(id)))
      vocab.place().fail("each token and id once", in_quotes(name) + " again");
  }
  v.added_at.assign(size_t(v.tokens.size()), -1);
}

void add_merge(Vocabulary& v, const Place& place, std::string_view left, std::string_view right,
               int32_t rank) {
  const int32_t l = v.tokens.find(left), r = v.tokens.find(right);
  thread_local std::string both;  // a merge file has hundreds of thousands of lines
  const int32_t joined = v.tokens.find(both.assign(left).append(right));
  if (l < 0 || r < 0 || joined < 0)
    place[size_t(rank)].fail("merges of known tokens", in_quotes(left) + " + " + in_quotes(right));
  v.merges.insert(l, r, {rank, joined});
}

void add_merge_line(Vocabulary& v, const Place& place, std::string_view line, int32_t rank) {
  const size_t space = line.find(' ');
  if (space == line.npos || line.find(' ', space + 1) != line.npos)
    place[size_t(rank)].fail("a merge of two tokens", in_quotes(line));
  add_merge(v, place, line.substr(0, space), line.substr(space + 1), rank);
}

void read_merges(const Node& merges, Vocabulary& v) {
  int32_t rank = 0;
  const auto list = merges.as<simdjson::dom::array>("a list of merges");
  v.merges.reserve(list.size());
  for (const element merge : list) {
    std::string_view left, right;
    simdjson::dom::array pair;
    if (!merge.get(left)) {
      add_merge_line(v, merges.place(), left, rank++);
      continue;
    }
    if (merge.get(pair) || pair.size() != 2 || pair.at(0).get(left) || pair.at(1).get(right))
      merges.place()[size_t(rank)].fail("a merge of two tokens", simdjson::minify(merge));
    add_merge(v, merges.place(), left, right, rank++);
  }
}

// Null, "" and 0 are what tools write for "none".
void refuse_value(const Node& model, const char* key) {
  const auto value = model.member(key);
  if (!value) return;
  const bool none = value->is<std::string_view>() ? value->text().empty()
                                                  : value->as<double>("no value or 0") == 0;
  if (!none) value->place().fail("none", "one");
}

void read_model(const Node& model, Vocabulary& v) {
  if (const std::string type = model.type(); type != "BPE" && !type.empty())
    model.place().fail("a BPE model", in_quotes(type));
  model.allow({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
               "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    refuse_value(model, key);
  read_vocab(model.required("vocab"), v);
  read_merges(model.required("merges"), v);
  v.ignore_merges = model.flag("ignore_merges");
  v.fuse_unknown = model.flag("fuse_unk");
  v.byte_fallback = model.flag("byte_fallback");
  if (const auto unknown = model.member("unk_token")) v.unknown = v.tokens.find(unknown->text());
}

void require_every_byte(const Vocabulary& v, const Place& place) {
  const bool bytes = v.byte_level != v.byte_fallback;
  const bool spelt = bytes && std::ranges::find(v.bytes, -1) == v.bytes.end();
  if (v.byte_level && v.byte_fallback) place.fail("no byte_fallback beside ByteLevel", "it");
  if (!spelt && v.unknown < 0) place.fail("a token for every byte, or an unk_token", "neither");
}

}  // namespace

Vocabulary read_tokenizer_json(const FileSet& files) {
  const JsonFile json(files, "tokenizer.json");
  const Node root = json.root();
  // What transformers sets anew for every call changes no ids: truncation, padding.
  root.allow({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
              "post_processor", "decoder", "model"});
  Vocabulary v;
  read_model(root.required("model"), v);
  if (const auto list = root.member("added_tokens"))
    for (const Node& e : list->items())
      add_token(v, added_token(e, e.required("id").id()), json.name());
  if (const auto e = root.member("normalizer")) read_normaliser(*e, v);
  if (const auto e = root.member("pre_tokenizer")) read_pre_tokeniser(*e, v);
  const Node decoder = root.required("decoder");  // without one, tokens would be joined by spaces
  v.byte_level ? check_byte_level_decoder(decoder) : read_decoder(decoder, v);
  if (const auto e = root.member("post_processor")) read_post_processor(*e, v);
  fill_bytes(v);
  require_every_byte(v, root.place());
  return v;
}

// Without tokenizer.json the class says which words. No class: Qwen2, the one family here that
// ships this form.
Vocabulary read_vocab_and_merges(const FileSet& files) {
  const JsonFile json(files, "vocab.json");
  Vocabulary v;
  read_vocab(json.root(), v);
  const std::string merges = files.read("merges.txt");
  const Place place{"tokenizer", files.place_of("merges.txt")};
  std::string_view rest = merges;
  int32_t rank = 0;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    if (!is_utf8(line)) place[size_t(rank)].fail("UTF-8", "something else");
    add_merge_line(v, place, line, rank++);
  }
  v.byte_level = true;
  const std::string name = config_text(files, "tokenizer_class").value_or("Qwen2Tokenizer");
  if (name.starts_with("Qwen2Tokenizer")) {
    v.normaliser.push_back({NormalStep::nfc, "", ""});
    v.pattern = WordPattern::qwen2;
  } else if (name.starts_with("GPT2Tokenizer")) {
    v.pattern = WordPattern::gpt2;
    v.prefix_space = config_flag(files, "add_prefix_space").value_or(false);
  } else {
    Place{"tokenizer", files.place_of("tokenizer_config.json"), "tokenizer_class"}.fail(
        "Qwen2Tokenizer or GPT2Tokenizer beside vocab.json", in_quotes(name));
  }
  fill_bytes(v);
  require_every_byte(v, json.root().place());
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

}  // namespace revenant
