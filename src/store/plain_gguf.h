// GGUF files of other writers: language models alone (Llama, Qwen2, InternLM2, Phi-3), told by
// llama.cpp's keys. What those say becomes the small files of a Hugging Face directory, so that one
// reader of configurations and one of tokenizers serves all.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/file_set.h"
#include "io/gguf.h"
#include "model/weights.h"

namespace revenant {

bool is_plain(const Gguf& file);  // general.architecture is llama, qwen2, internlm2 or phi3

// config.json, and tokenizer.json or tokenizer.model with tokenizer_config.json. Throws Error that
// names the key if something is missing, or asks for what is not computed here.
FileSet small_files_of_plain(const Gguf& file);

// The weights by their canonical names: rows that Phi-3 has in one tensor (q|k|v, gate|up) apart.
std::map<std::string, GgufTensor> plain_tensors(const Gguf& file, const Config& config);

// llama.cpp turns the halves of each head of Llama's and InternLM2's q and k into pairs: row 2i + s
// of a head is row i of its half s. Whether this weight's rows lie so.
bool in_pairs(const Gguf& file, const TensorSpec& spec);
// The rows of `heads` heads as a checkpoint has them.
std::vector<std::byte> as_halves(std::span<const std::byte> rows, int heads, int head_dim);

}  // namespace revenant
