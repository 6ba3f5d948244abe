// What a made set consists of, and how far a guesser without eyes gets on it.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/file.h"

namespace revenant {

// Raised whenever a set would come out different from the same sources and seed.
constexpr int kDatasetVersion = 11;

struct TaskReport {
  size_t rows = 0, unseen_wordings = 0;
  std::map<std::string, size_t> answers;
};

struct DatasetReport {
  std::string name;
  uint64_t seed = 0;
  size_t limit = 0;
  std::map<std::string, std::map<std::string, TaskReport>> splits;  // split, task
  std::map<std::string, size_t> pictures;                           // split
  // Exact equality of pixels between the training split and all others, whose pictures count once
  // even where two splits ask about them.
  size_t training_pictures_in_test = 0, test_pictures_in_training = 0;
};

// The training split's most frequent answer to a task, the first in order of a tie; where training
// has no such task, the split's own.
std::string majority_answer(const DatasetReport& report, const std::string& split,
                            const std::string& task);

void count_duplicates(DatasetReport& report,
                      const std::map<std::string, std::vector<uint64_t>>& hashes);

std::string report_json(const DatasetReport& report);
// null: there is none, or it is no JSON
nlohmann::json read_report(const Path& file);
int version_of_report(const Path& file);  // 0: there is none
bool report_matches(const Path& file, uint64_t seed, size_t limit);

}  // namespace revenant
