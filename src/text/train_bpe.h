// A small trainer of byte-level BPE vocabularies.
#pragma once

#include <span>
#include <string>

namespace revenant {

// The text of a Hugging Face tokenizer.json in Qwen2's form: NFC, Qwen2's word pattern, byte-level.
// Ids: the 256 bytes, then merges in the order they were learnt, then the special tokens;
// `vocab_size` counts all of them and is not reached if the texts run out of pairs. The same texts
// give the same file. Throws Error if vocab_size is too small.
std::string train_byte_bpe(std::span<const std::string> texts, int vocab_size,
                           std::span<const std::string> special_tokens);

}  // namespace revenant
