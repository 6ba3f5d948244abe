// UTF-8 and Unicode properties, as the tokenizers need them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace revenant {

constexpr std::string_view space_mark =
    "\xE2\x96\x81";  // U+2581, a space in SentencePiece's tokens

struct Code {
  char32_t value;
  int size;  // bytes
};

Code code_at(std::string_view valid, size_t at);  // `valid` is UTF-8, at < size
void append_code(std::string& out, char32_t code);

// Appends `bytes` to `out`, each maximal broken part as one U+FFFD (Unicode 3.9, WHATWG). Returns
// the bytes used: all when `last`, else all but a tail that further bytes may complete.
size_t append_repaired(std::string& out, std::string_view bytes, bool last);
bool is_utf8(std::string_view bytes);
std::string repaired(std::string_view bytes);

std::string nfc(std::string_view valid);

enum class CharKind : uint8_t { letter, number, newline, space, other };
CharKind kind_of(char32_t code);  // newline is \r and \n alone; marks are `other`
bool is_space(char32_t code);     // White_Space
bool is_word(char32_t code);      // \w
// These take UTF-8.
std::string_view strip(std::string_view text);        // white space off both ends
std::string without_controls(std::string_view text);  // U+FFFD for all but tabs and line breaks

// `strip` of text that comes in pieces, each of whole characters.
class TrimmedStream {
 public:
  std::string push(std::string_view text);

 private:
  bool begun_ = false;
  std::string white_;  // may turn out to be the end
};

}  // namespace revenant
