// Accuracy by source, split, task and wording, beside the answer that is right most often.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "data/dataset.h"
#include "eval/predict.h"

namespace revenant {

// The most frequent answer, normalised, by source and task; the first in the alphabet among equals.
using Majorities = std::map<std::pair<std::string, std::string>, std::string>;
Majorities majority_answers(std::span<const Row> rows);

// Without regard to case, white space around and a final period.
bool is_right(const Row& row, const Prediction& prediction);

struct Tally {
  int64_t rows = 0, right = 0;         // answered ones
  int64_t failed = 0;                  // left out of all the other numbers: they have no answer
  int64_t unparsed = 0;                // empty, or not ended within the token limit
  std::optional<int64_t> majority{0};  // right answers of the baseline; nothing if a task has none
};

// An empty key means all of them.
struct GroupKey {
  std::string source, split, task, wording;
  auto operator<=>(const GroupKey&) const = default;
};

struct Group {
  GroupKey key;
  Tally tally;
};

// From coarse to fine; a group that a finer one repeats with all of its rows is left out.
std::vector<Group> tally(std::span<const Row> rows, std::span<const Prediction> predictions,
                         const Majorities& majorities);

// "2 of 6000 rows have no answer and are left out, the first of them row 7: WHY"; empty if all have
// one.
std::string failure_note(std::span<const Prediction> predictions);

// A column of failed rows stands in it only where there are any.
std::string table_text(std::span<const Group> groups);
nlohmann::json table_json(std::span<const Group> groups);

}  // namespace revenant
