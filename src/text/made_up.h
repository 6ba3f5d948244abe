// Tokenizers in the released layouts with made-up ordinary pieces: the real file names, sizes and
// special tokens at their real ids, for models whose vocabularies are not at hand.
#pragma once

#include "base/file.h"
#include "base/prompt_family.h"

namespace revenant {

// Any text can be encoded: bytes, ASCII letters and then strings of letters fill the vocabulary.
void write_made_up_tokenizer(const Path& directory, PromptFamily family);

}  // namespace revenant
