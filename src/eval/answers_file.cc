#include "eval/answers_file.h"

#include "base/json.h"

namespace revenant {

using nlohmann::json;

AnswersFile::AnswersFile(const Path& file, const json& run, std::span<const Row> rows)
    : rows_(rows),
      known_(rows.size()),
      journal_(file, run, {"eval"},
               [this](const json& line, const Place& place) { take(line, place); }) {}

void AnswersFile::take(const json& line, const Place& place) {
  try {
    const size_t row = line.at("row").get<size_t>() - 1;
    if (line.contains("failure")) return;
    known_.at(row) = {line.at("prediction").get<std::string>(), line.at("stopped").get<bool>(),
                      line.at("tokens").get<int>()};
    if (line.contains("log_prob"))
      known_.at(row)->grounding = {line.at("log_prob").get<double>(),
                                   line.at("log_prob_grey").get<double>(),
                                   line.at("answer_tokens").get<int>()};
  } catch (const std::exception&) {
    place.fail("the answer to a row", shown(line));
  }
}

void AnswersFile::add(size_t row, const Prediction& p) {
  json line = {{"row", row + 1}, {"question", rows_[row].question}, {"answer", rows_[row].answer}};
  if (p.failure.empty())
    line.update({{"prediction", p.text}, {"stopped", p.stopped}, {"tokens", p.tokens}});
  else
    line["failure"] = p.failure;
  if (p.grounding)
    line.update({{"log_prob", p.grounding->log_prob},
                 {"log_prob_grey", p.grounding->log_prob_grey},
                 {"answer_tokens", p.grounding->tokens}});
  journal_.add(line);
}

}  // namespace revenant
