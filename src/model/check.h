// Does a checkpoint hold what the tensor table says: every tensor exactly once, in its shape?
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "model/weights.h"

namespace revenant {

struct Stored {
  std::vector<int64_t> shape;
  std::string type;  // of the numbers, as the file calls it
  std::span<const std::byte> data;
};

// What a file calls its tensors: a checkpoint as it was released, a one-file model as the table
// does, with each weight by itself.
enum class Naming { released, canonical };
// Where a weight of the table lies in such a file.
TensorSpec placed(TensorSpec spec, Naming naming);

// `file_of(name)` (or the directory, for a missing tensor) is named in the Error. Returns the
// unused ones, which a re-save keeps: known ones, and those of a mechanism that the extension key
// switches off. A tied model's output matrix may be there as an equal copy; it is not among them.
std::vector<std::string> check_stored(const Config& config,
                                      const std::map<std::string, Stored>& tensors,
                                      const std::function<std::string(const std::string&)>& file_of,
                                      Naming naming = Naming::released);

}  // namespace revenant
