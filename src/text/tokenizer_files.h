// The files of a tokenizer in a Hugging Face directory.
#pragma once

#include <cstddef>

#include "base/file.h"

namespace revenant {

// Copies those that exist; returns how many.
size_t copy_tokenizer(const Path& from, const Path& to);

}  // namespace revenant
