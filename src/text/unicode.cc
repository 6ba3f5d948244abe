#include "text/unicode.h"

#include <simdjson.h>
#include <utf8proc.h>

#include <algorithm>
#include <span>

#include "base/error.h"

namespace revenant {
namespace {

struct Lead {
  int size;           // 0: not a lead byte
  uint8_t low, high;  // of the second byte
};

Lead lead_of(uint8_t b) {
  if (b < 0x80) return {1, 0, 0};
  if (b >= 0xC2 && b <= 0xDF) return {2, 0x80, 0xBF};
  if (b >= 0xE0 && b <= 0xEF)
    return {3, uint8_t(b == 0xE0 ? 0xA0 : 0x80), uint8_t(b == 0xED ? 0x9F : 0xBF)};
  if (b >= 0xF0 && b <= 0xF4)
    return {4, uint8_t(b == 0xF0 ? 0x90 : 0x80), uint8_t(b == 0xF4 ? 0x8F : 0xBF)};
  return {0, 0, 0};
}

// Bytes at the start of `bytes` that form the beginning of `lead`'s character.
int well_formed(std::string_view bytes, Lead lead) {
  int n = 1;
  for (; n < lead.size && size_t(n) < bytes.size(); ++n) {
    const uint8_t b = uint8_t(bytes[n]);
    if (b < (n == 1 ? lead.low : 0x80) || b > (n == 1 ? lead.high : 0xBF)) break;
  }
  return n;
}

// Canonical order: marks by class, equal ones as they stood. (utf8proc's own sort is quadratic in a
// run of marks.)
void sort_marks(std::vector<utf8proc_int32_t>& codes) {
  const auto rank = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (size_t i = 0; i < codes.size();) {
    size_t j = i;
    while (j < codes.size() && rank(codes[j]) != 0) ++j;
    std::stable_sort(codes.begin() + long(i), codes.begin() + long(j),
                     [&](auto a, auto b) { return rank(a) < rank(b); });
    i = j + 1;
  }
}

std::vector<utf8proc_int32_t> decomposed(std::string_view text) {
  constexpr utf8proc_ssize_t most = 8;  // code points of one; 4 suffice to date
  constexpr auto form = utf8proc_option_t(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
  std::vector<utf8proc_int32_t> codes;
  codes.reserve(text.size() + most);
  for (size_t i = 0; i < text.size();) {
    const Code c = code_at(text, i);
    utf8proc_int32_t parts[most];
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(utf8proc_int32_t(c.value), parts, most, form, &boundary);
    CHECK(count > 0 && count <= most);
    codes.insert(codes.end(), parts, parts + count);
    i += size_t(c.size);
  }
  return codes;
}

}  // namespace

Code code_at(std::string_view s, size_t i) {
  const auto at = [&](size_t k) { return char32_t(uint8_t(s[i + k])); };
  const char32_t b = at(0);
  if (b < 0x80) return {b, 1};
  if (b < 0xE0) return {(b & 0x1F) << 6 | (at(1) & 0x3F), 2};
  if (b < 0xF0) return {(b & 0x0F) << 12 | (at(1) & 0x3F) << 6 | (at(2) & 0x3F), 3};
  return {(b & 0x07) << 18 | (at(1) & 0x3F) << 12 | (at(2) & 0x3F) << 6 | (at(3) & 0x3F), 4};
}

void append_code(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += char(c);
  } else if (c < 0x800) {
    out += {char(0xC0 | c >> 6), char(0x80 | (c & 0x3F))};
  } else if (c < 0x10000) {
    out += {char(0xE0 | c >> 12), char(0x80 | (c >> 6 & 0x3F)), char(0x80 | (c & 0x3F))};
  } else {
    out += {char(0xF0 | c >> 18), char(0x80 | (c >> 12 & 0x3F)), char(0x80 | (c >> 6 & 0x3F)),
            char(0x80 | (c & 0x3F))};
  }
}

size_t append_repaired(std::string& out, std::string_view bytes, bool last) {
  size_t i = 0;
  while (i < bytes.size()) {
    const Lead lead = lead_of(uint8_t(bytes[i]));
    const int n = well_formed(bytes.substr(i), lead);
    const bool complete = n == lead.size;
    if (!complete && lead.size != 0 && i + size_t(n) == bytes.size() && !last) break;
    complete ? out.append(bytes, i, size_t(n)) : out.append("\xEF\xBF\xBD");
    i += size_t(n);
  }
  return i;
}

bool is_utf8(std::string_view bytes) { return simdjson::validate_utf8(bytes.data(), bytes.size()); }

std::string repaired(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  std::string out;
  append_repaired(out, bytes, true);
  return out;
}

std::string nfc(std::string_view text) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return uint8_t(c) < 0x80; }))
    return std::string(text);
  std::vector<utf8proc_int32_t> codes = decomposed(text);
  sort_marks(codes);
  const auto count =
      utf8proc_normalize_utf32(codes.data(), utf8proc_ssize_t(codes.size()),
                               utf8proc_option_t(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  CHECK(count >= 0);
  std::string out;
  for (const auto c : std::span(codes).first(size_t(count))) append_code(out, char32_t(c));
  return out;
}

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

CharKind kind_of(char32_t c) {
  if (c == '\n' || c == '\r') return CharKind::newline;
  if (is_space(c)) return CharKind::space;
  switch (utf8proc_category(utf8proc_int32_t(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharKind::letter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharKind::number;
    default:
      return CharKind::other;
  }
}

bool is_word(char32_t c) {
  switch (utf8proc_category(utf8proc_int32_t(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return c == 0x200C || c == 0x200D;
  }
}

std::string_view strip(std::string_view text) {
  const auto space_at = [&](size_t i) { return is_space(code_at(text, i).value); };
  while (!text.empty() && space_at(0)) text.remove_prefix(size_t(code_at(text, 0).size));
  while (!text.empty()) {
    size_t i = text.size() - 1;
    while (i > 0 && (uint8_t(text[i]) & 0xC0) == 0x80) --i;
    if (!space_at(i)) break;
    text = text.substr(0, i);
  }
  return text;
}

std::string TrimmedStream::push(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Code code = code_at(text, at);
    const std::string_view character = text.substr(at, size_t(code.size));
    at += size_t(code.size);
    if (is_space(code.value)) {
      if (begun_) white_ += character;
      continue;
    }
    begun_ = true;
    (out += white_) += character;
    white_.clear();
  }
  return out;
}

std::string without_controls(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Code code = code_at(text, at);
    at += size_t(code.size);
    const bool control = code.value < 0x20 || (code.value >= 0x7f && code.value < 0xa0);
    append_code(out, control && code.value != '\t' && code.value != '\n' ? U'\uFFFD' : code.value);
  }
  return out;
}

}  // namespace revenant
