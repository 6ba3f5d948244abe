#include "data/report.h"

#include <set>

#include "base/json.h"

namespace revenant {
namespace {

using Json = nlohmann::ordered_json;

Json task_json(const DatasetReport& report, const std::string& split, const std::string& name,
               const TaskReport& task) {
  const std::string majority = majority_answer(report, split, name);
  const auto hits = task.answers.find(majority);
  return {{"rows", task.rows},
          {"unseen_wordings", task.unseen_wordings},
          {"different_answers", task.answers.size()},
          {"majority_answer", majority},
          {"majority_accuracy",
           hits == task.answers.end() ? 0.0 : double(hits->second) / double(task.rows)}};
}

}  // namespace

std::string majority_answer(const DatasetReport& report, const std::string& split,
                            const std::string& task) {
  const auto train = report.splits.find("train");
  const bool trained = train != report.splits.end() && train->second.contains(task);
  const auto& answers = (trained ? train->second : report.splits.at(split)).at(task).answers;
  std::string best;
  size_t most = 0;
  for (const auto& [answer, count] : answers)
    if (count > most) best = answer, most = count;
  return best;
}

void count_duplicates(DatasetReport& report,
                      const std::map<std::string, std::vector<uint64_t>>& hashes) {
  std::set<uint64_t> train, test;
  for (const auto& [split, values] : hashes)
    (split == "train" ? train : test).insert(values.begin(), values.end());
  for (const uint64_t value : test) report.test_pictures_in_training += train.contains(value);
  if (const auto it = hashes.find("train"); it != hashes.end())
    for (const uint64_t value : it->second)
      report.training_pictures_in_test += test.contains(value);
}

std::string report_json(const DatasetReport& report) {
  Json splits = Json::object();
  for (const auto& [split, tasks] : report.splits) {
    Json& entry = splits[split];
    entry["pictures"] = report.pictures.at(split);
    size_t rows = 0;
    for (const auto& [name, task] : tasks) rows += task.rows;
    entry["rows"] = rows;
    for (const auto& [name, task] : tasks)
      entry["tasks"][name] = task_json(report, split, name, task);
  }
  return Json{{"set", report.name},
              {"version", kDatasetVersion},
              {"seed", report.seed},
              {"limit", report.limit},
              {"duplicates",
               {{"training_pictures_in_test", report.training_pictures_in_test},
                {"test_pictures_in_training", report.test_pictures_in_training}}},
              {"splits", splits}}
             .dump(2) +
         "\n";
}

nlohmann::json read_report(const Path& file) {
  try {
    return read_json(file, "data");
  } catch (const Error&) {
    return nullptr;
  }
}

int version_of_report(const Path& file) {
  if (!std::filesystem::is_regular_file(file)) return 0;
  const auto json = read_report(file);
  return json.is_object() && json.contains("version") && json["version"].is_number_integer()
             ? json["version"].get<int>()
             : 0;
}

bool report_matches(const Path& file, uint64_t seed, size_t limit) {
  if (!std::filesystem::is_regular_file(file)) return false;
  const auto json = read_report(file);
  const nlohmann::json none;
  return json.is_object() && json.value("version", none) == kDatasetVersion &&
         json.value("seed", none) == seed && json.value("limit", none) == limit;
}

}  // namespace revenant
