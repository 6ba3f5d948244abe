#include "serve/constraint.h"

#include <algorithm>

#include "base/error.h"

namespace revenant {

TokenSpellings::TokenSpellings(const Speech& speech, int rows)
    : rows_(rows), places_(size_t(rows), -1), stop_ids_(speech.stop_ids) {
  const Tokenizer& tokenizer = speech.tokenizer;
  for (int id = 0; id < std::min(rows, tokenizer.size()); ++id) {
    const bool stops = std::ranges::find(stop_ids_, id) != stop_ids_.end();
    std::string bytes = tokenizer.is_special(id) || stops ? "" : tokenizer.bytes_of(id);
    if (!bytes.empty()) tokens_.push_back({id, 0, std::move(bytes)});
  }
  std::ranges::sort(tokens_, {}, &Token::bytes);
  for (size_t i = 0; i < tokens_.size(); ++i) {
    places_[size_t(tokens_[i].id)] = int(i);
    if (i == 0) continue;
    const std::string &a = tokens_[i - 1].bytes, &b = tokens_[i].bytes;
    tokens_[i].common =
        uint32_t(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  }
}

std::string_view TokenSpellings::bytes(int id) const {
  const int place = id >= 0 && id < rows_ ? places_[size_t(id)] : -1;
  return place < 0 ? std::string_view() : tokens_[size_t(place)].bytes;
}

// Neighbours begin alike, so their beginnings are read once.
std::vector<uint8_t> TokenSpellings::allowed(Matcher& matcher, Matcher::State state) const {
  std::vector<uint8_t> flags(size_t(rows_), 0);
  std::vector<Matcher::State> path = {state};  // after the bytes of the token before
  size_t failed = SIZE_MAX;                    // so many of its bytes may not come
  for (const Token& token : tokens_) {
    if (failed <= token.common) continue;
    path.resize(std::min(path.size(), size_t(token.common) + 1));
    failed = SIZE_MAX;
    while (path.size() <= token.bytes.size()) {
      const Matcher::State next = matcher.after(path.back(), uint8_t(token.bytes[path.size() - 1]));
      if (next == Matcher::none) {
        failed = path.size();
        break;
      }
      path.push_back(next);
    }
    if (failed == SIZE_MAX) flags[size_t(token.id)] = 1;
  }
  if (matcher.complete(state))
    for (const int id : stop_ids_)
      if (id >= 0 && id < rows_) flags[size_t(id)] = 1;
  return flags;
}

Matcher::State Masks::after(Matcher::State state, int id) {
  for (const char c : spellings_->bytes(id)) {
    state = matcher_.after(state, uint8_t(c));
    if (state == Matcher::none)
      throw Error("serve", "token " + std::to_string(id), "one that the grammar allows", "another");
  }
  return state;
}

std::span<const uint8_t> Masks::of(Matcher::State state) {
  const auto at = kept_.find(state);
  if (at != kept_.end()) return at->second;
  if (kept_.size() >= most_kept) kept_.clear();
  return kept_[state] = spellings_->allowed(matcher_, state);
}

std::span<const uint8_t> Constraint::allowed(std::span<const int> made) {
  for (; read_ < made.size(); ++read_) state_ = masks_->after(state_, made[read_]);
  return masks_->of(state_);
}

}  // namespace revenant
