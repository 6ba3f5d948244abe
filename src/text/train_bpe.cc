#include "text/train_bpe.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <queue>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace revenant {
namespace {

using Pair = std::pair<int32_t, int32_t>;
using Json = nlohmann::ordered_json;

struct Word {
  std::vector<int32_t> ids;
  int64_t count;
};

std::vector<Word> count_words(std::span<const std::string> texts) {
  std::map<std::string, int64_t> counts;  // ordered: the result does not depend on hashing
  for (const std::string& text : texts) {
    const std::string normal = nfc(repaired(text));
    for (const auto word : split_words(normal, WordPattern::qwen2)) ++counts[std::string(word)];
  }
  std::vector<Word> words;
  for (const auto& [text, count] : counts) {
    Word word{{}, count};
    for (const char c : text) word.ids.push_back(uint8_t(c));
    words.push_back(std::move(word));
  }
  return words;
}

// Counts of all neighbouring pairs, kept up to date merge by merge.
class PairCounts {
 public:
  explicit PairCounts(std::vector<Word> words) : words_(std::move(words)) {
    for (size_t w = 0; w < words_.size(); ++w) change(w, +1);
    for (const auto& [pair, entry] : pairs_) queue_.push({entry.count, pair});
  }

  // The most frequent pair that occurs at least twice, of equals the one with the smallest ids.
  std::optional<Pair> best() {
    while (!queue_.empty()) {
      const Candidate top = queue_.top();
      queue_.pop();
      const int64_t count = pairs_[top.pair].count;
      if (count == top.count && count >= 2) return top.pair;
      if (count < top.count && count >= 2) queue_.push({count, top.pair});
    }
    return std::nullopt;
  }

  void merge(Pair pair, int32_t joined) {
    const std::set<size_t> where = std::move(pairs_[pair].words);
    std::set<Pair> touched;
    for (const size_t w : where) {
      change(w, -1);
      words_[w].ids = replaced(words_[w].ids, pair, joined);
      change(w, +1);
      for (size_t i = 0; i + 1 < words_[w].ids.size(); ++i) touched.insert(at(w, i));
    }
    for (const Pair& p : touched) queue_.push({pairs_[p].count, p});
  }

 private:
  struct Entry {
    int64_t count = 0;
    std::set<size_t> words;  // where it occurs, or once did
  };
  struct Candidate {
    int64_t count;
    Pair pair;
    bool operator<(const Candidate& o) const {
      return count != o.count ? count < o.count : pair > o.pair;
    }
  };

  Pair at(size_t w, size_t i) const { return {words_[w].ids[i], words_[w].ids[i + 1]}; }
  void change(size_t w, int sign) {
    for (size_t i = 0; i + 1 < words_[w].ids.size(); ++i) {
      Entry& entry = pairs_[at(w, i)];
      entry.count += sign * words_[w].count;
      if (sign > 0) entry.words.insert(w);
    }
  }
  static std::vector<int32_t> replaced(const std::vector<int32_t>& ids, Pair pair, int32_t joined) {
    std::vector<int32_t> out;
    for (size_t i = 0; i < ids.size(); ++i) {
      const bool here = i + 1 < ids.size() && Pair{ids[i], ids[i + 1]} == pair;
      out.push_back(here ? joined : ids[i]);
      i += here;
    }
    return out;
  }

  std::vector<Word> words_;
  std::map<Pair, Entry> pairs_;
  std::priority_queue<Candidate> queue_;
};

std::string spelt(const std::string& bytes) {
  std::string out;
  for (const char b : bytes) append_code(out, letter_of_byte(uint8_t(b)));
  return out;
}

Json byte_level() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", false},
          {"use_regex", false}};
}

Json file_of(const Json& vocab, const Json& merges, const Json& added) {
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", qwen2_expression}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  Json file;
  file["version"] = "1.0";
  file["truncation"] = nullptr;
  file["padding"] = nullptr;
  file["added_tokens"] = added;
  file["normalizer"] = {{"type", "NFC"}};
  file["pre_tokenizer"] = {{"type", "Sequence"},
                           {"pretokenizers", Json::array({split, byte_level()})}};
  file["post_processor"] = byte_level();
  file["decoder"] = byte_level();
  file["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", ""},
                   {"end_of_word_suffix", ""},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"vocab", vocab},
                   {"merges", merges}};
  return file;
}

}  // namespace

std::string train_byte_bpe(std::span<const std::string> texts, int vocab_size,
                           std::span<const std::string> special_tokens) {
  const int least = 256 + int(special_tokens.size());
  if (vocab_size < least)
    throw Error("tokenizer", "vocab_size", "at least " + std::to_string(least),
                std::to_string(vocab_size));
  PairCounts counts(count_words(texts));
  std::vector<std::string> tokens;  // as bytes
  std::set<std::string> taken(special_tokens.begin(), special_tokens.end());
  Json vocab = Json::object(), merges = Json::array(), added = Json::array();
  const auto add = [&](const std::string& bytes) {
    vocab[spelt(bytes)] = tokens.size();
    tokens.push_back(bytes);
    taken.insert(spelt(bytes));
  };
  for (int b = 0; b < 256; ++b) add(std::string(1, char(b)));
  std::optional<Pair> pair;
  while (int(tokens.size() + special_tokens.size()) < vocab_size && (pair = counts.best())) {
    const std::string left = tokens[size_t(pair->first)], right = tokens[size_t(pair->second)];
    if (taken.contains(spelt(left + right))) continue;  // spelt by another merge, or special
    merges.push_back(spelt(left) + " " + spelt(right));
    counts.merge(*pair, int32_t(tokens.size()));
    add(left + right);
  }
  for (const std::string& token : special_tokens)
    added.push_back({{"id", tokens.size() + added.size()},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  return file_of(vocab, merges, added).dump(1);
}

}  // namespace revenant
