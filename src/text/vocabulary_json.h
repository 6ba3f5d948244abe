// Readers of a tokenizer's main files in JSON.
#pragma once

#include "text/vocabulary.h"

namespace revenant {

Vocabulary read_tokenizer_json(const FileSet& files);
Vocabulary read_vocab_and_merges(const FileSet& files);  // vocab.json, merges.txt

void fill_bytes(Vocabulary& v);  // `bytes`, from the tokens

}  // namespace revenant
