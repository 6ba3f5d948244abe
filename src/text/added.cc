#include "text/added.h"

#include <algorithm>

#include "text/unicode.h"

namespace revenant {
namespace {

size_t previous(std::string_view text, size_t i) {
  do --i;
  while (i > 0 && (uint8_t(text[i]) & 0xC0) == 0x80);
  return i;
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  const bool left = begin > 0 && is_word(code_at(text, previous(text, begin)).value);
  const bool right = end < text.size() && is_word(code_at(text, end).value);
  return !left && !right;
}

// Not below `low`: what is taken already need not be looked at again.
size_t spaces_before(std::string_view text, size_t low, size_t i) {
  while (i > low && is_space(code_at(text, previous(text, i)).value)) i = previous(text, i);
  return i;
}

size_t spaces_after(std::string_view text, size_t i) {
  while (i < text.size()) {
    const Code c = code_at(text, i);
    if (!is_space(c.value)) break;
    i += size_t(c.size);
  }
  return i;
}

}  // namespace

void AddedMatcher::insert(std::string_view content, int32_t index) {
  if (content.empty() || !contents_.insert(content, index)) return;
  first_[uint8_t(content[0])] = true;
  const auto at =
      std::lower_bound(lengths_.begin(), lengths_.end(), content.size(), std::greater<>());
  if (at == lengths_.end() || *at != content.size()) lengths_.insert(at, content.size());
}

int32_t AddedMatcher::longest_at(std::string_view text) const {
  for (const size_t length : lengths_) {
    if (length > text.size()) continue;
    if (const int32_t found = contents_.find(text.substr(0, length)); found >= 0) return found;
  }
  return -1;
}

std::vector<Segment> AddedMatcher::split(std::string_view text, std::span<const Range> trusted,
                                         std::span<const AddedToken> tokens) const {
  std::vector<Segment> segments;
  size_t done = 0;  // everything before is in a segment
  for (const auto& [low, high] : trusted)
    for (size_t i = low; i < high;) {
      const int32_t found = first_[uint8_t(text[i])] ? longest_at(text.substr(i, high - i)) : -1;
      if (found < 0) {
        ++i;
        continue;
      }
      const AddedToken& token = tokens[size_t(found)];
      const size_t end = i + contents_.text_of(found).size();
      if (!token.single_word || stands_alone(text, i, end)) {
        const size_t from = std::max(done, token.lstrip ? spaces_before(text, done, i) : i);
        if (done < from) segments.push_back({done, from});
        done = std::max(from, end);
        if (token.rstrip) done = spaces_after(text, done);
        segments.push_back({from, done, found});
      }
      i = end;
    }
  if (done < text.size()) segments.push_back({done, text.size()});
  return segments;
}

}  // namespace revenant
