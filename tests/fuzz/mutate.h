// Inputs made of a corpus by chance: what files and requests suffer on their way, and the lies that
// parsers trip over.
#pragma once

#include <string>
#include <vector>

#include "base/random.h"

namespace revenant::fuzz {

class Mutator {
 public:
  // Words of the files become a dictionary. What it makes has at most `most` bytes.
  Mutator(std::vector<std::string> files, uint64_t seed, size_t most = 16384);

  // One of the files after one to four changes.
  std::string next();

 private:
  void change(std::string& text);
  void flip(std::string& text);
  void overwrite(std::string& text);
  void cut(std::string& text);
  void splice(std::string& text);
  void repeat(std::string& text);
  void lie(std::string& text);
  void lie_in_binary(std::string& text);
  void put_word(std::string& text);

  size_t place(const std::string& text) { return size_t(random_.below(text.size() + 1)); }
  template <class List>
  const auto& any(const List& list) {
    return list[size_t(random_.below(std::size(list)))];
  }

  const std::vector<std::string> files_;
  const size_t most_;
  std::vector<std::string> words_;
  Random random_;
};

}  // namespace revenant::fuzz
