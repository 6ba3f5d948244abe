#include "text/tokenizer_files.h"

#include <filesystem>

namespace revenant {

size_t copy_tokenizer(const Path& from, const Path& to) {
  size_t copied = 0;
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt",
                           "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"})
    if (std::filesystem::exists(from / name)) {
      write_file(to / name, read_file(from / name));
      ++copied;
    }
  return copied;
}

}  // namespace revenant
