// How a text is cut into words before byte-pair merging. The patterns are regular expressions in
// the files; here they are scanners, one text per published pattern.
#pragma once

#include <string_view>
#include <vector>

#include "base/word_expressions.h"

namespace revenant {

enum class WordPattern {
  whole,   // no cutting
  gpt2,    // 's|'t|... ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  qwen2,   // (?i:'s|...)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|...
  llama3,  // as qwen2 with \p{N}{1,3}
  digits_gpt2,  // each \p{N} alone, gpt2 between them (SmolLM)
};

std::vector<std::string_view> split_words(std::string_view valid, WordPattern pattern);

}  // namespace revenant
