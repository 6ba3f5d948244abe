#include "cli/dropped.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <span>

#include "base/ascii.h"

namespace revenant {
namespace {

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

struct Word {
  std::string text;
  size_t begin, end;  // of what was typed
};

// What a quote at `at` encloses, by a shell's rules, and where it ends; npos: nowhere.
std::pair<std::string, size_t> quoted(std::string_view line, size_t at) {
  const char quote = line[at];
  std::string text;
  for (size_t i = at + 1; i < line.size(); ++i) {
    if (line[i] == quote) return {text, i + 1};
    const bool escaped = quote == '"' && line[i] == '\\' && i + 1 < line.size() &&
                         std::string_view("\"\\$`").find(line[i + 1]) != line.npos;
    if (escaped) ++i;
    text += line[i];
  }
  return {"", line.npos};
}

// A quote opens only where a word begins or goes on from a quoted part: what's is a word.
Word word_at(std::string_view line, size_t begin) {
  Word word{"", begin, begin};
  bool may_open = true;
  while (word.end < line.size() && !is_blank(line[word.end])) {
    const char c = line[word.end];
    if ((c == '\'' || c == '"') && may_open) {
      const auto [text, end] = quoted(line, word.end);
      if (end != line.npos) {
        word.text += text;
        word.end = end;
        continue;
      }
    }
    const bool escaped = c == '\\' && word.end + 1 < line.size();
    word.end += escaped ? 2 : 1;
    word.text += line[word.end - 1];
    may_open = escaped;
  }
  return word;
}

std::vector<Word> words_of(std::string_view line) {
  std::vector<Word> words;
  for (size_t at = 0; at < line.size();) {
    if (is_blank(line[at])) {
      ++at;
      continue;
    }
    words.push_back(word_at(line, at));
    at = words.back().end;
  }
  return words;
}

// %41 is A; what is no such code stays.
std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    uint8_t code = 0;
    const char* digits = text.data() + i + 1;
    const bool is_code = text[i] == '%' && i + 2 < text.size() &&
                         std::from_chars(digits, digits + 2, code, 16).ptr == digits + 2;
    out += is_code ? char(code) : text[i];
    if (is_code) i += 2;
  }
  return out;
}

// RFC 8089: file:///path, file://localhost/path, file:/path.
Path path_of(std::string_view word) {
  constexpr std::string_view scheme = "file:";
  if (!word.starts_with(scheme)) return expand_home(Path(word));
  std::string_view rest = word.substr(scheme.size());
  for (const std::string_view host : {"//localhost/", "///"})
    if (rest.starts_with(host)) rest.remove_prefix(host.size() - 1);
  return rest.starts_with('/') && !rest.starts_with("//") ? Path(percent_decoded(rest))
                                                          : Path(word);
}

bool is_there(const Path& path) {
  std::error_code failed;
  return std::filesystem::exists(path, failed);
}

bool named_like_a_picture(const Path& path) {
  const std::string extension = lower_ascii(path.extension().string());
  constexpr std::array<std::string_view, 4> known = {".png", ".jpg", ".jpeg", ".webp"};
  return std::ranges::find(known, extension) != known.end();
}

// A relative path in a question is a person's word; an absolute one came from a drop or is meant.
bool may_be_dropped(const Path& path) { return path.is_absolute() && named_like_a_picture(path); }

// The picture whose path begins with word i, and its last word; some terminals quote no blanks.
std::pair<Path, size_t> picture_from(std::string_view line, std::span<const Word> words, size_t i) {
  const Path path = path_of(words[i].text);
  if (may_be_dropped(path)) return {path, i};
  for (size_t j = i + 1; path.is_absolute() && j < words.size(); ++j) {
    const Path longer = path_of(line.substr(words[i].begin, words[j].end - words[i].begin));
    if (may_be_dropped(longer) && is_there(longer)) return {longer, j};
  }
  return {};
}

}  // namespace

std::vector<Path> dropped_paths(std::string_view text) {
  const std::string_view name = trimmed(text);
  if (name.empty()) return {};
  for (const std::string_view whole : {text, name})
    if (const Path path = path_of(whole); is_there(path)) return {path};
  std::vector<Path> paths;
  for (const Word& word : words_of(name)) paths.push_back(path_of(word.text));
  const bool several = paths.size() == 1 || std::ranges::any_of(paths, is_there);
  return several ? paths : std::vector<Path>{path_of(name)};
}

Dropped split_dropped(std::string_view line) {
  Dropped dropped;
  size_t done = 0;
  const std::vector<Word> words = words_of(line);
  for (size_t i = 0; i < words.size(); ++i) {
    const auto [picture, last] = picture_from(line, words, i);
    if (picture.empty()) continue;
    dropped.pictures.push_back(picture);
    dropped.question += line.substr(done, words[i].begin - done);
    i = last;
    done = std::min(line.size(), words[i].end + 1);  // with the blank that terminals put after it
  }
  dropped.question += line.substr(done);
  if (!dropped.pictures.empty()) dropped.question = trimmed(dropped.question);
  return dropped;
}

}  // namespace revenant
