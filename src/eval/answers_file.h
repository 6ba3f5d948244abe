// What `eval` has answered so far, in a file that grows with each answer: a run that was stopped
// goes on from it.
#pragma once

#include <optional>
#include <vector>

#include "base/journal.h"
#include "eval/predict.h"

namespace revenant {

// A journal (base/journal.h): what the answers depend on; then a line for each row of `rows`, in
// the order in which they were answered: "row" (counted from 1 over all files), "question",
// "answer" (as the file has it), and either "prediction", "stopped" and "tokens" (and of answers
// with a Grounding "log_prob", "log_prob_grey" and "answer_tokens") or "failure".
class AnswersFile {
 public:
  // Begins a file or goes on with one.
  AnswersFile(const Path& file, const nlohmann::json& run, std::span<const Row> rows);

  // By row; failed ones are not known, so they are asked again.
  const std::vector<std::optional<Prediction>>& known() const { return known_; }
  void add(size_t row, const Prediction& prediction);  // throws Error

 private:
  void take(const nlohmann::json& line, const Place& place);

  std::span<const Row> rows_;
  std::vector<std::optional<Prediction>> known_;
  Journal journal_;
};

}  // namespace revenant
