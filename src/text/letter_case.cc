#include "text/letter_case.h"

#include <utf8proc.h>

#include "text/unicode.h"

namespace revenant {
namespace {

std::string mapped(std::string_view text, const auto& append_mapped) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Code code = code_at(text, i);
    append_mapped(out, utf8proc_int32_t(code.value));
    i += size_t(code.size);
  }
  return out;
}

}  // namespace

std::string lower_case(std::string_view text) {
  return mapped(text, [](std::string& out, utf8proc_int32_t code) {
    append_code(out, char32_t(utf8proc_tolower(code)));
  });
}

std::string folded(std::string_view text) {
  return nfc(mapped(text, [](std::string& out, utf8proc_int32_t code) {
    utf8proc_int32_t letters[4];  // the longest folding is of three
    int last_class = 0;
    const auto count = utf8proc_decompose_char(code, letters, 4, UTF8PROC_CASEFOLD, &last_class);
    for (utf8proc_ssize_t i = 0; i < count; ++i) append_code(out, char32_t(letters[i]));
  }));
}

std::string normalised(std::string_view answer) {
  const std::string valid = repaired(answer);
  std::string_view core = strip(valid);
  if (core.ends_with('.')) core = strip(core.substr(0, core.size() - 1));
  return folded(core);
}

}  // namespace revenant
