#include "text/tokenizer_files.h"

#include <algorithm>
#include <filesystem>

namespace revenant {
namespace {

constexpr const char* names[] = {
    "tokenizer.json",    "tokenizer.model",         "vocab.json",           "merges.txt",
    "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"};

}  // namespace

std::span<const char* const> tokenizer_file_names() { return names; }

size_t copy_tokenizer(const Path& from, const Path& to) {
  size_t copied = 0;
  for (const char* name : names)
    if (std::filesystem::exists(from / name)) {
      write_file(to / name, read_file(from / name));
      ++copied;
    }
  return copied;
}

bool same_tokenizer(const Path& a, const Path& b) {
  return std::ranges::all_of(names, [&](const char* name) {
    const bool there = std::filesystem::exists(a / name);
    if (there != std::filesystem::exists(b / name)) return false;
    return !there || read_file(a / name) == read_file(b / name);
  });
}

}  // namespace revenant
