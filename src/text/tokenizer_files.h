// The files of a tokenizer in a Hugging Face directory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/file_set.h"

namespace revenant {

std::span<const char* const> tokenizer_file_names();

// Those that exist, by name.
using TokenizerTexts = std::map<std::string, std::string>;
TokenizerTexts read_tokenizer_texts(const Path& directory);
std::string digest_of(const TokenizerTexts& texts);  // SHA-256 of names and texts
void write_tokenizer_texts(const TokenizerTexts& texts, const Path& to);
// Returns how many there were.
size_t copy_tokenizer(const Path& from, const Path& to);
// The same with more special tokens, whose ids follow each other from `first_id` on: in
// tokenizer.json, or where there is none in added_tokens.json and special_tokens_map.json.
void write_tokenizer(const FileSet& from, const Path& to, const std::vector<std::string>& tokens,
                     int32_t first_id);
}  // namespace revenant
