// Words of file formats and protocols, whose letters are ASCII whatever the locale.
#pragma once

#include <string>
#include <string_view>

namespace revenant {

inline std::string lower_ascii(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = char(c + 'a' - 'A');
  return out;
}

}  // namespace revenant
