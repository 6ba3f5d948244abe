// The files beside a tokenizer's main one.
#pragma once

#include <optional>

#include "text/json_node.h"
#include "text/vocabulary.h"

namespace revenant {

// An entry of tokenizer.json's added_tokens or of tokenizer_config.json's added_tokens_decoder.
AddedToken added_token(const Node& entry, int32_t id);

// Applies added_tokens.json, special_tokens_map.json and tokenizer_config.json where they exist.
void read_side_files(Vocabulary& v, const FileSet& files);

// A setting of tokenizer_config.json; nothing if the file or the key is absent.
std::optional<bool> config_flag(const FileSet& files, std::string_view key);
std::optional<std::string> config_text(const FileSet& files, std::string_view key);

}  // namespace revenant
