#include "eval/score.h"

#include <algorithm>
#include <cmath>

namespace revenant {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view white = " \t\r\n\v\f";
  const size_t begin = text.find_first_not_of(white);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(white) - begin + 1);
}

}  // namespace

std::string normalised(std::string_view answer) {
  std::string_view core = trimmed(answer);
  if (core.ends_with('.')) core = trimmed(core.substr(0, core.size() - 1));
  std::string lower(core);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  return lower;
}

Interval wilson(int64_t right, int64_t rows) {
  if (rows == 0) return {};
  constexpr double z = 1.959963984540054;  // 97.5 % quantile of the normal distribution
  const double n = double(rows), p = double(right) / n;
  const double centre = p + z * z / (2 * n), scale = 1 + z * z / n;
  const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return {right == 0 ? 0 : std::max(0.0, (centre - half) / scale),
          right == rows ? 1 : std::min(1.0, (centre + half) / scale)};
}

}  // namespace revenant
