// The objects of composed scenes: well known, and easy to tell apart at 30 pixels.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/emoji_catalog.h"

namespace revenant {

struct Thing {
  std::string name, plural;  // "mouse", "mice"
  std::map<Style, Sprite> sprites;
};

// Those of the table that `sources` draws in every style; at least 20, or Error.
std::vector<Thing> read_things(const Path& sources);

}  // namespace revenant
