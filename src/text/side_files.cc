#include "text/side_files.h"

#include <charconv>

namespace revenant {
namespace {

constexpr const char* settings_name = "tokenizer_config.json";

// A token of special_tokens_map.json or tokenizer_config.json: a string, or an object with content.
std::string token_name(const Node& token) {
  return token.is<std::string_view>() ? token.text() : token.required("content").text();
}

// A token that no file has an id for is left out: nothing but its own text could become it.
void mark_special(Vocabulary& v, const Node& node) {
  AddedToken token;
  if (!node.is<std::string_view>()) token = added_token(node, -1);
  token.content = token_name(node);
  const auto known = v.added_names.find(token.content);
  token.id = known != v.added_names.end() ? v.added[size_t(known->second)].id
                                          : v.tokens.find(token.content);
  token.special = true;
  if (node.is<std::string_view>() || !node.member("normalized")) token.normalized = false;
  if (token.id >= 0) add_token(v, token, node.place().file);
}

bool names_a_token(std::string_view key, const Node& value) {
  const bool token = value.is<std::string_view>() || value.member("content");
  return key.ends_with("_token") && token;
}

void mark_all_special(Vocabulary& v, const Node& tokens) {
  if (tokens.is<simdjson::dom::array>()) {
    for (const Node& token : tokens.items()) mark_special(v, token);
    return;
  }
  for (const auto [key, value] : tokens.as<simdjson::dom::object>("a list or object of tokens"))
    mark_special(v, {value, tokens.place() / key});
}

void read_named_tokens(const Node& file, Vocabulary& v) {
  for (const auto [key, value] : file.as<simdjson::dom::object>("an object")) {
    const Node node(value, file.place() / key);
    const bool several = key == "additional_special_tokens" || key == "extra_special_tokens" ||
                         key == "model_specific_special_tokens";
    if (several && !value.is_null()) mark_all_special(v, node);
    if (!names_a_token(key, node)) continue;
    mark_special(v, node);
    const auto at = v.added_names.find(token_name(node));
    if (at == v.added_names.end()) continue;
    if (key == "bos_token") v.bos = v.added[size_t(at->second)].id;
    if (key == "eos_token") v.eos = v.added[size_t(at->second)].id;
  }
}

// Its flags count more than those of tokenizer.json, as in transformers.
void read_added_tokens_decoder(const Node& list, Vocabulary& v) {
  for (const auto [key, value] : list.as<simdjson::dom::object>("an object of added tokens")) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    const Node entry(value, list.place() / key);
    if (error != std::errc() || end != key.data() + key.size())
      entry.place().fail("a token id as key", "another");
    const AddedToken token = added_token(entry, id);
    add_token(v, token, list.place().file);
    v.added[size_t(v.added_at[size_t(id)])] = token;
  }
}

void read_added_tokens(const Node& file, Vocabulary& v) {
  for (const auto [name, value] : file.as<simdjson::dom::object>("an object of added tokens")) {
    AddedToken token;
    token.content = name;
    token.id = Node(value, file.place() / name).id();
    token.normalized = true;  // until special_tokens_map.json says that it is special
    add_token(v, token, file.place().file);
  }
}

// A text begins with a space of the tokenizer's own.
bool prefixes(const Vocabulary& v) {
  bool prepends = v.prefix_space || v.mark != SpaceMark::none;
  for (const NormalStep& step : v.normaliser) prepends |= step.kind == NormalStep::prepend;
  return prepends;
}

// Settings that would change ids and that nothing here honours.
void check_settings(const Node& config, const Vocabulary& v) {
  for (const char* key : {"split_special_tokens", "do_lower_case"})
    if (config.flag(key)) (config.place() / key).fail("false", "true");
  if (const auto options = config.member("sp_model_kwargs"))
    if (options->flag("enable_sampling"))
      (options->place() / "enable_sampling").fail("false", "true");
  const auto prefix = config.member("add_prefix_space");
  if (prefix && prefix->as<bool>("true or false") != prefixes(v))
    prefix->place().fail(prefixes(v) ? "true, as the tokenizer has it" : "false, as it has none",
                         prefixes(v) ? "false" : "true");
}

}  // namespace

AddedToken added_token(const Node& e, int32_t id) {
  e.allow({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special", "__type"});
  AddedToken token;
  token.id = id;
  token.content = e.required("content").text();
  token.special = e.flag("special");
  token.lstrip = e.flag("lstrip");
  token.rstrip = e.flag("rstrip");
  token.single_word = e.flag("single_word");
  token.normalized = e.flag("normalized", !token.special);
  return token;
}

void read_side_files(Vocabulary& v, const FileSet& files) {
  std::optional<JsonFile> settings;
  if (files.has(settings_name)) settings.emplace(files, settings_name);
  if (settings) check_settings(settings->root(), v);
  if (const auto list = settings ? settings->root().member("added_tokens_decoder") : std::nullopt)
    read_added_tokens_decoder(*list, v);
  const auto apply = [&](const char* name, auto read) {
    if (files.has(name)) read(JsonFile(files, name).root(), v);
  };
  apply("added_tokens.json", read_added_tokens);
  apply("special_tokens_map.json", read_named_tokens);
  if (settings) read_named_tokens(settings->root(), v);
}

std::optional<bool> config_flag(const FileSet& files, std::string_view key) {
  if (!files.has(settings_name)) return std::nullopt;
  const JsonFile json(files, settings_name);
  const auto value = json.root().member(key);
  return value ? std::optional(value->as<bool>("true or false")) : std::nullopt;
}

std::optional<std::string> config_text(const FileSet& files, std::string_view key) {
  if (!files.has(settings_name)) return std::nullopt;
  const JsonFile json(files, settings_name);
  const auto value = json.root().member(key);
  return value ? std::optional(value->text()) : std::nullopt;
}

}  // namespace revenant
