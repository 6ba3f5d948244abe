// The files of a tokenizer in a Hugging Face directory.
#pragma once

#include <cstddef>
#include <span>

#include "base/file.h"

namespace revenant {

std::span<const char* const> tokenizer_file_names();
// Copies those that exist; returns how many.
size_t copy_tokenizer(const Path& from, const Path& to);
// Whether the two directories hold the same of them, byte for byte.
bool same_tokenizer(const Path& a, const Path& b);

}  // namespace revenant
