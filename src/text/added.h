// Added and special tokens: cut out of a text before anything else happens to it.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tables.h"

namespace revenant {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool lstrip = false, rstrip = false;  // swallow the white space before, after
  bool single_word = false;             // only where no word character touches it
  bool normalized = false;              // searched for in the normalised text
  bool special = false;
};

// A part of a text: one added token, or ordinary text (token < 0).
struct Segment {
  size_t begin, end;
  int32_t token = -1;  // index into the tokens that the matcher was built from
};

using Range = std::pair<size_t, size_t>;  // [first, second) in bytes

// Leftmost, then longest, as Hugging Face's tokenizers search.
class AddedMatcher {
 public:
  void insert(std::string_view content, int32_t index);
  // Only matches that lie inside one of `trusted` (ascending, disjoint) count.
  std::vector<Segment> split(std::string_view text, std::span<const Range> trusted,
                             std::span<const AddedToken> tokens) const;
  bool empty() const { return lengths_.empty(); }

 private:
  int32_t longest_at(std::string_view text) const;

  StringTable contents_;
  std::vector<size_t> lengths_;  // descending
  std::array<bool, 256> first_{};
};

}  // namespace revenant
