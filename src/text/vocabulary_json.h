// Readers of the JSON files of a tokenizer.
#pragma once

#include <optional>

#include "text/vocabulary.h"

namespace revenant {

Vocabulary read_tokenizer_json(const Path& file);
Vocabulary read_vocab_and_merges(const Path& vocab, const Path& merges);

// Applies added_tokens.json, special_tokens_map.json and tokenizer_config.json where they exist.
void read_side_files(Vocabulary& v, const Path& directory);

// A boolean of tokenizer_config.json; nothing if the file or the key is absent.
std::optional<bool> config_flag(const Path& directory, const std::string& key);

void fill_bytes(Vocabulary& v);  // `bytes`, from the tokens

}  // namespace revenant
