#include "text/words.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "text/unicode.h"

namespace revenant {

namespace {

// One character of the text: where it starts, what it is.
struct Char {
  size_t at;
  char32_t code;
  CharKind kind;
};

using Chars = std::vector<Char>;  // ends with a sentinel at the text's end

Chars chars_of(std::string_view text) {
  static const auto ascii = [] {
    std::array<CharKind, 128> kinds{};
    for (size_t c = 0; c < 128; ++c) kinds[c] = kind_of(char32_t(c));
    return kinds;
  }();
  Chars chars;
  chars.reserve(text.size() + 1);
  for (size_t i = 0; i < text.size();) {
    const Code c = code_at(text, i);
    chars.push_back({i, c.value, c.value < 128 ? ascii[c.value] : kind_of(c.value)});
    i += size_t(c.size);
  }
  chars.push_back({text.size(), 0, CharKind::other});
  return chars;
}

struct Scanner {
  const Chars& c;
  size_t n;  // characters

  bool is(size_t i, CharKind kind) const { return i < n && c[i].kind == kind; }
  bool blank(size_t i) const { return is(i, CharKind::space) || is(i, CharKind::newline); }
  bool other(size_t i) const { return is(i, CharKind::other); }
  bool letter(size_t i) const { return is(i, CharKind::letter); }
  template <class Test>
  size_t run(size_t i, Test test) const {
    while (i < n && test(i)) ++i;
    return i;
  }
  size_t run(size_t i, CharKind kind) const {
    return run(i, [&](size_t k) { return is(k, kind); });
  }

  // 's 't 're 've 'm 'll 'd; folding case also folds U+017F to s. Returns the end, or i for no
  // match.
  size_t contraction(size_t i, bool fold) const {
    if (c[i].code != '\'' || i + 1 >= n) return i;
    const auto lower = [&](size_t k) -> char32_t {
      if (k >= n) return 0;
      const char32_t x = c[k].code;
      if (!fold) return x;
      return x == 0x17F ? U's' : x >= 'A' && x <= 'Z' ? x + 32 : x;
    };
    const char32_t a = lower(i + 1), b = lower(i + 2);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return i + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return i + 3;
    return i;
  }

  // \s+(?!\S)|\s+ : the last blank goes with the word that follows, if there is one.
  size_t blanks(size_t i, bool digits_alone = false) const {
    const size_t end = run(i, [&](size_t k) { return blank(k); });
    const bool ends = end == n || (digits_alone && is(end, CharKind::number));
    return ends || end == i + 1 ? end : end - 1;
  }

  // `digits_alone`: the text is cut around every number first.
  size_t gpt2(size_t i, bool digits_alone = false) const {
    const auto alone = [&](size_t k) { return digits_alone && is(k, CharKind::number); };
    if (alone(i)) return i + 1;
    if (const size_t end = contraction(i, false); end > i) return end;
    const bool leads = c[i].code == ' ' && i + 1 < n && !blank(i + 1) && !alone(i + 1);
    const size_t first = leads ? i + 1 : i;
    if (blank(first)) return blanks(i, digits_alone);
    return run(first, c[first].kind);
  }

  size_t qwen2(size_t i, size_t digits) const {
    if (const size_t end = contraction(i, true); end > i) return end;
    if (letter(i)) return run(i, CharKind::letter);
    if (!is(i, CharKind::newline) && !is(i, CharKind::number) && letter(i + 1))
      return run(i + 1, CharKind::letter);
    if (is(i, CharKind::number))
      return run(i, [&](size_t k) { return k < i + digits && is(k, CharKind::number); });
    const size_t first = c[i].code == ' ' && other(i + 1) ? i + 1 : i;
    if (other(first)) return run(run(first, CharKind::other), CharKind::newline);
    const size_t end = run(i, [&](size_t k) { return blank(k); });
    size_t line = end;  // after the last line break of the run
    while (line > i && !is(line - 1, CharKind::newline)) --line;
    return line > i ? line : blanks(i);
  }

  size_t next(size_t i, WordPattern pattern) const {
    switch (pattern) {
      case WordPattern::gpt2:
        return gpt2(i);
      case WordPattern::digits_gpt2:
        return gpt2(i, true);
      case WordPattern::qwen2:
        return qwen2(i, 1);
      case WordPattern::llama3:
        return qwen2(i, 3);
      case WordPattern::whole:
        break;
    }
    return n;
  }
};

}  // namespace

std::vector<std::string_view> split_words(std::string_view text, WordPattern pattern) {
  if (text.empty()) return {};
  if (pattern == WordPattern::whole) return {text};
  const Chars chars = chars_of(text);
  const Scanner scan{chars, chars.size() - 1};
  std::vector<std::string_view> words;
  for (size_t i = 0; i < scan.n;) {
    const size_t end = scan.next(i, pattern);
    words.push_back(text.substr(chars[i].at, chars[end].at - chars[i].at));
    i = end;
  }
  return words;
}

}  // namespace revenant
