#include "eval/answers_file.h"

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/json.h"

namespace revenant {

using nlohmann::json;

AnswersFile::AnswersFile(const Path& file, const json& run, std::span<const Row> rows)
    : file_(file), rows_(rows), known_(rows.size()) {
  std::string text = std::filesystem::exists(file) ? read_file(file) : "";
  text.resize(text.rfind('\n') + 1);  // npos + 1 is 0
  read(text, run);
  if (std::filesystem::exists(file)) std::filesystem::resize_file(file, text.size());
  out_.reset(std::fopen(file.c_str(), "ab"));
  if (!out_) throw Error("eval", file.string(), "a file to write", std::strerror(errno));
  if (text.empty()) write({{"run", run}});
}

void AnswersFile::read(std::string_view text, const json& run) {
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const Place place{"eval", file_.string() + ":" + std::to_string(number)};
    const json line = parse_json(text.substr(0, end), place);
    text.remove_prefix(end + 1);
    if (number == 1) {
      const json before = line.is_object() ? line.value("run", json()) : json();
      for (const auto& [key, value] : run.items())
        if (!before.contains(key) || before[key] != value)
          throw Error("eval", file_.string() + " " + key, value.dump() + ", as now",
                      before.contains(key) ? before[key].dump() : "nothing");
      continue;
    }
    try {
      const size_t row = line.at("row").get<size_t>() - 1;
      if (line.contains("failure")) continue;
      known_.at(row) = {line.at("prediction").get<std::string>(), line.at("stopped").get<bool>(),
                        line.at("tokens").get<int>()};
    } catch (const std::exception&) {
      place.fail("the answer to a row", shown(line));
    }
  }
}

void AnswersFile::add(size_t row, const Prediction& p) {
  json line = {{"row", row + 1}, {"question", rows_[row].question}, {"answer", rows_[row].answer}};
  if (p.failure.empty())
    line.update({{"prediction", p.text}, {"stopped", p.stopped}, {"tokens", p.tokens}});
  else
    line["failure"] = p.failure;
  write(line);
}

void AnswersFile::write(const json& line) {
  const std::string text = json_text(line) + "\n";
  if (std::fwrite(text.data(), 1, text.size(), out_.get()) != text.size() ||
      std::fflush(out_.get()) != 0)
    throw Error("eval", file_.string(), "a line more", std::strerror(errno));
}

}  // namespace revenant
