// What a config.json says and nobody reads.
#pragma once

#include "model/fields.h"

namespace revenant {

// One line that names the keys of these objects which were not asked for and are not known to
// change nothing; empty: none.
std::string unread_keys(const std::vector<Fields>& objects);

}  // namespace revenant
