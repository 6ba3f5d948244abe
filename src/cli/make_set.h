// Making a data set as `data make` and a recipe that lacks one do it: with a bar, and with the
// script that fetches the sources.
#pragma once

#include "data/make.h"

namespace revenant {

// options.fetch_script empty: tools/fetch_data.sh of the tree in which this program was built;
// options.progress becomes a bar.
void make_set(const std::string& name, MakeOptions options);

}  // namespace revenant
