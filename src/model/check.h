// Does a checkpoint hold what the tensor table says: every tensor exactly once, in its shape?
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "model/config.h"

namespace revenant {

// `shapes` are the stored tensors' shapes by name; `file_of(name)` (or the directory, for a missing
// tensor) is named in the Error. Returns the unused ones, which a re-save keeps: known ones, and
// those of a mechanism that the extension key switches off.
std::vector<std::string> check_stored(
    const Config& config, const std::map<std::string, std::vector<int64_t>>& shapes,
    const std::function<std::string(const std::string&)>& file_of);

}  // namespace revenant
