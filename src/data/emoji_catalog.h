// Emoji by name, and where each drawing style keeps them.
#pragma once

#include <string>
#include <vector>

#include "data/sprite.h"

namespace revenant {

struct Emoji {
  std::string name;  // emojibase's label, lower case
  std::string code;  // Twemoji's file name: "1f415"
  int group = 0, subgroup = 0;
};

enum class Style {
  twemoji,
  fluent_flat,
  emojione,
  emojione_monotone,
  high_contrast,
  fxemoji,
  streamline,
  fluent_modern,
  openmoji,
  noto
};

// Only the first two tables may ever be trained on: their licences allow it (MIT, CC-BY-4.0,
// Apache-2.0), and the others are what shows that a model knows things and not drawings. Modern is
// by the hand that drew flat, in gradients; OpenMoji and Noto are by others.
inline constexpr Style kTrainStyles[] = {Style::twemoji, Style::fluent_flat};
inline constexpr Style kMoreTrainStyles[] = {Style::emojione, Style::emojione_monotone,
                                             Style::high_contrast, Style::fxemoji,
                                             Style::streamline};  // each lacks some
inline constexpr Style kTestStyles[] = {Style::fluent_modern, Style::openmoji, Style::noto};

const std::vector<Style>& whole_styles();  // kTrainStyles and kTestStyles: those lack nothing

std::string name_of(Style style);  // "modern"
// Whether it has a drawing of that thing; what only shares the name is none.
bool draws(const Path& sources, const Emoji& emoji, Style style);
inline bool is_ink(Style style) {  // black on nothing
  return style == Style::high_contrast || style == Style::emojione_monotone;
}
Path sprite_path(const Path& sources, const Emoji& emoji, Style style);

// Emoji without skin tones, flags and components that all whole_styles draw, in Unicode's order.
std::vector<Emoji> read_emoji(const Path& sources);

}  // namespace revenant
