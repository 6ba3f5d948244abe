// What `eval` has answered so far, in a file that grows with each answer: a run that was stopped
// goes on from it.
#pragma once

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "eval/predict.h"

namespace revenant {

// JSON Lines: `{"run": ...}`, what the answers depend on; then a line for each row of `rows`, in
// the order in which they were answered: "row" (counted from 1 over all files), "question",
// "answer" (as the file has it), and either "prediction", "stopped" and "tokens" or "failure".
class AnswersFile {
 public:
  // Begins a file or goes on with one; a last line that was broken off is cut away. Throws Error,
  // naming the key, where the file is of another run.
  AnswersFile(const Path& file, const nlohmann::json& run, std::span<const Row> rows);

  // By row; failed ones are not known, so they are asked again.
  const std::vector<std::optional<Prediction>>& known() const { return known_; }
  void add(size_t row, const Prediction& prediction);  // throws Error

 private:
  void read(std::string_view text, const nlohmann::json& run);
  void write(const nlohmann::json& line);

  Path file_;
  std::span<const Row> rows_;
  std::vector<std::optional<Prediction>> known_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> out_{nullptr, std::fclose};
};

}  // namespace revenant
