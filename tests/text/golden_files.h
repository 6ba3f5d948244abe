// The tokenizer sets that stay outside the repository, and a directory of one's own.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

#include "base/file.h"

namespace revenant::golden {

using Json = nlohmann::json;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "revenant_text_XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("mkdtemp");
    path = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  Path path;
};

inline Path tokenizers() {
  const char* folder = std::getenv("REVENANT_TOKENIZERS");
  return folder ? Path(folder) : Path(REVENANT_SOURCE_DIR) / "../shared/tokenizers";
}

inline std::string gunzip(const Path& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (!file) throw std::runtime_error("cannot open " + path.string());
  std::string out;
  std::vector<char> block(1 << 16);
  int n;
  while ((n = gzread(file, block.data(), unsigned(block.size()))) > 0)
    out.append(block.data(), size_t(n));
  gzclose(file);
  if (n < 0) throw std::runtime_error("bad gzip " + path.string());
  return out;
}

inline std::vector<Json> lines_of(const Path& path) {
  std::vector<Json> records;
  std::istringstream in(read_file(path));
  for (std::string line; std::getline(in, line);) records.push_back(Json::parse(line));
  return records;
}

}  // namespace revenant::golden
