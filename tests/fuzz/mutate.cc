#include "fuzz/mutate.h"

#include <algorithm>
#include <set>

#include "base/error.h"

namespace revenant::fuzz {
namespace {

constexpr size_t longest_word = 40;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) {
  const char low = char(c | 0x20);
  return is_digit(c) || (low >= 'a' && low <= 'z') || c == '_' || c == '-' || c == '$';
}

// Runs of letters and digits, and each kind of what stands between them.
void add_words(const std::string& text, std::set<std::string>& words) {
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    while (end < text.size() && is_word(text[end]) == is_word(text[at])) ++end;
    if (end - at <= longest_word) words.insert(text.substr(at, end - at));
    at = end;
  }
}

}  // namespace

Mutator::Mutator(std::vector<std::string> files, uint64_t seed, size_t most)
    : files_(std::move(files)), most_(most), random_(seed) {
  CHECK(!files_.empty());
  std::set<std::string> words = {"\r\n", "\"", "\\u0000", "[", "{", "]", "}", ",", ":", "\n"};
  for (const std::string& file : files_) add_words(file, words);
  words_.assign(words.begin(), words.end());
}

std::string Mutator::next() {
  std::string text = any(files_);
  for (uint64_t changes = 1 + random_.below(4); changes > 0; --changes) change(text);
  text.resize(std::min(text.size(), most_));
  return text;
}

void Mutator::change(std::string& text) {
  static constexpr void (Mutator::*all[])(std::string&) = {
      &Mutator::flip,   &Mutator::overwrite, &Mutator::cut,           &Mutator::splice,
      &Mutator::repeat, &Mutator::lie,       &Mutator::lie_in_binary, &Mutator::put_word};
  (this->*any(all))(text);
}

void Mutator::flip(std::string& text) {
  for (uint64_t bits = 1 + random_.below(4); bits > 0 && !text.empty(); --bits)
    text[random_.below(text.size())] ^= char(1 << random_.below(8));
}

void Mutator::overwrite(std::string& text) {
  for (uint64_t bytes = 1 + random_.below(4); bytes > 0 && !text.empty(); --bytes)
    text[random_.below(text.size())] = char(random_.below(256));
}

// At the end, or something from the middle.
void Mutator::cut(std::string& text) {
  const size_t from = place(text);
  text.erase(from, random_.below(2) ? text.npos : size_t(random_.below(64)));
}

// The beginning of it and the end of another.
void Mutator::splice(std::string& text) {
  const std::string& other = any(files_);
  text = text.substr(0, place(text)) + other.substr(place(other));
}

void Mutator::repeat(std::string& text) {
  const size_t from = place(text), length = size_t(random_.below(random_.below(8) ? 64 : 2048));
  const std::string part = text.substr(from, length);
  std::string more;
  for (uint64_t times = 1 + random_.below(random_.below(8) ? 3 : 300); times > 0; --times)
    if (more.size() + part.size() <= most_) more += part;
  text.insert(from, more);
}

// A number of the text becomes another: near it, far from it, or too large for any type.
void Mutator::lie(std::string& text) {
  std::vector<size_t> numbers;
  for (size_t i = 0; i < text.size(); ++i)
    if (is_digit(text[i]) && (i == 0 || !is_digit(text[i - 1]))) numbers.push_back(i);
  if (numbers.empty()) return put_word(text);
  const size_t at = any(numbers);
  size_t end = at;
  while (end < text.size() && is_digit(text[end])) ++end;
  const std::string was = text.substr(at, std::min<size_t>(end - at, 15));
  const long long n = std::stoll(was);
  static const std::string far[] = {"0",
                                    "-1",
                                    "255",
                                    "65536",
                                    "2147483648",
                                    "2147483647",
                                    "4294967296",
                                    "1e999",
                                    "ffffffff",
                                    "9223372036854775808",
                                    "0.00000001",
                                    "1e-999",
                                    "99999999999999999999999"};
  const std::string near[] = {std::to_string(n + 1), std::to_string(n - 1), std::to_string(2 * n),
                              std::to_string(n / 2), "0" + was};
  text.replace(at, end - at, random_.below(2) ? any(near) : any(far));
}

// The same of a number in binary, of one to eight bytes.
void Mutator::lie_in_binary(std::string& text) {
  static constexpr uint64_t values[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, ~0ull};
  if (text.empty()) return;
  const uint64_t value = any(values);
  const size_t at = size_t(random_.below(text.size())), bytes = size_t(1) << random_.below(4);
  for (size_t i = 0; i < bytes && at + i < text.size(); ++i) text[at + i] = char(value >> 8 * i);
}

// In the place of as many bytes, or between.
void Mutator::put_word(std::string& text) {
  const std::string& word = any(words_);
  text.replace(place(text), random_.below(2) ? word.size() : 0, word);
}

}  // namespace revenant::fuzz
