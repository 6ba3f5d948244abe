#include "text/tokenizer_files.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"

namespace revenant {
namespace {

constexpr const char* names[] = {
    "tokenizer.json",    "tokenizer.model",         "vocab.json",           "merges.txt",
    "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"};

}  // namespace

std::span<const char* const> tokenizer_file_names() { return names; }

TokenizerTexts read_tokenizer_texts(const Path& directory) {
  TokenizerTexts texts;
  for (const char* name : names)
    if (std::filesystem::exists(directory / name)) texts[name] = read_file(directory / name);
  return texts;
}

std::string digest_of(const TokenizerTexts& texts) {
  nlohmann::json digests = nlohmann::json::object();
  for (const auto& [name, text] : texts) digests[name] = sha256_of(text);
  return sha256_of(json_text(digests));
}

void write_tokenizer_texts(const TokenizerTexts& texts, const Path& to) {
  for (const auto& [name, text] : texts) write_file(to / name, text);
}

size_t copy_tokenizer(const Path& from, const Path& to) {
  const TokenizerTexts texts = read_tokenizer_texts(from);
  write_tokenizer_texts(texts, to);
  return texts.size();
}

void write_tokenizer(const FileSet& from, const Path& to, const std::vector<std::string>& tokens,
                     int32_t first_id) {
  TokenizerTexts texts;
  for (const char* name : names)
    if (from.has(name)) texts[name] = from.read(name);
  const auto change = [&](const std::string& name, const auto& each_token) {
    nlohmann::json json =
        texts.contains(name) ? read_json(from, name, "tokenizer") : nlohmann::json::object();
    if (!json.is_object())
      throw Error("tokenizer", from.place_of(name), "a JSON object", json.type_name());
    for (size_t i = 0; i < tokens.size(); ++i) each_token(json, tokens[i], first_id + int32_t(i));
    texts[name] = json_text(json);
  };
  if (tokens.empty()) {
  } else if (texts.contains("tokenizer.json")) {
    change("tokenizer.json", [](nlohmann::json& json, const std::string& token, int32_t id) {
      json["added_tokens"].push_back({{"id", id},
                                      {"content", token},
                                      {"single_word", false},
                                      {"lstrip", false},
                                      {"rstrip", false},
                                      {"normalized", false},
                                      {"special", true}});
    });
  } else {
    change("added_tokens.json",
           [](nlohmann::json& json, const std::string& token, int32_t id) { json[token] = id; });
    change("special_tokens_map.json", [](nlohmann::json& json, const std::string& token, int32_t) {
      json["additional_special_tokens"].push_back(token);
    });
  }
  write_tokenizer_texts(texts, to);
}

}  // namespace revenant
