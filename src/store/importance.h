// How much each input of a matrix matters: the mean square of what it is multiplied with, by which
// quantisation weighs its errors. Files are llama.cpp's (tools/imatrix, GGUF): of a weight NAME the
// sums NAME.in_sum2 [1, columns] and NAME.counts [1, 1], F32.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"

namespace revenant {

struct InputSquares {
  std::vector<double> sums;  // [columns]
  int64_t rows = 0;          // that were seen
};

// By the weight's canonical name.
using Importance = std::map<std::string, InputSquares>;

// Written atomically. `source` says what was asked, for people.
void write_importance(const Path& file, const Importance& importance, const std::string& source);
// Throws Error that names file and tensor.
Importance read_importance(const Path& file);

// What pack_row weighs with: means, none of them 0.
std::vector<float> weights_of(const InputSquares& squares);

}  // namespace revenant
