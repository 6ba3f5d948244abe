// Letters in lower case, and texts that are equal but for case and composition.
#pragma once

#include <string>
#include <string_view>

namespace revenant {

std::string lower_case(std::string_view valid);  // `valid` is UTF-8; letter by letter

// Equal for texts that Unicode calls a caseless match (3.13, D145): case folded, then NFC.
std::string folded(std::string_view valid);

// Equal for answers that say the same: folded, without white space around and without one final
// period. Broken UTF-8 counts as U+FFFD.
std::string normalised(std::string_view answer);

}  // namespace revenant
