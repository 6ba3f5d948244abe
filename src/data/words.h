// Small English: templates, articles, plurals.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/random.h"

namespace revenant {

// Ways to ask one thing. Training uses `seen` only; tests use either.
struct Wordings {
  std::vector<std::string> seen, unseen;
};

using Words = std::map<std::string, std::string>;

// Ways to ask for a description of a picture.
const Wordings& caption_wordings();

const std::string& pick(Random& random, const std::vector<std::string>& items);

// Replaces every {key} of the template.
std::string filled_in(std::string text, const Words& words);

std::string with_article(const std::string& noun);  // "an owl"
std::string plural_of(const std::string& noun);     // regular ones

// One item a line.
std::string lines_of(const std::vector<std::string>& items);

// A generator of its own for one item, whatever was made before it.
Random random_for(uint64_t seed, const std::string& purpose, uint64_t index);

}  // namespace revenant
