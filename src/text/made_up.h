// Tokenizers in the released layouts with made-up ordinary pieces: the real file names, sizes and
// special tokens at their real ids, for models whose vocabularies are not at hand.
#pragma once

#include <string_view>

#include "base/file.h"

namespace revenant {

// `rule` is a prompt rule's name ("phantom-qwen2", "trol-internlm2", ...). Any text can be encoded:
// bytes, ASCII letters and then strings of letters fill the vocabulary. Throws Error.
void write_made_up_tokenizer(const Path& directory, std::string_view rule);

}  // namespace revenant
