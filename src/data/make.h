// Makes question-answer sets from pictures that package registries carry (tools/fetch_data.sh).
//   DIR/SET/{train,test...}.json   LLaVA-style rows; rows that share a picture stand together
//   DIR/SET/images/SPLIT/NNN/*.png
//   DIR/SET/SOURCES.json           packages, versions, licences
//   DIR/SET/REPORT.json            counts, majority answers, duplicates; written last
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/file.h"

namespace revenant {

struct MakeOptions {
  Path directory = "data";
  uint64_t seed = 1;
  size_t limit = 0;   // pictures a split at most; 0 = all
  int threads = 0;    // 0: as many as the machine runs at once; never shows in what is made
  Path fetch_script;  // brings what sources lack; empty: absent sources are an error
  std::function<void(size_t done, size_t total, const std::string& label)> progress;
};

const std::vector<std::string>& dataset_names();

// True if DIR/SET was made to the end by this version with the same seed and limit.
bool dataset_complete(const std::string& name, const MakeOptions& options);

// Whether the set in this folder was made by another version of its maker, hence has other rows
// than its name promises today. A folder without a REPORT.json is somebody's own and is not.
bool made_by_another_version(const Path& folder);

// Does nothing if the set is complete already. Throws Error.
void make_dataset(const std::string& name, const MakeOptions& options);

}  // namespace revenant
