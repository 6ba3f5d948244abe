// easy-VQA (Victor Zhou, MIT): its own pictures, questions and split.
#include <nlohmann/json.hpp>

#include <algorithm>

#include "base/error.h"
#include "data/sets.h"
#include "data/words.h"

namespace revenant {
namespace {

const std::map<std::string, std::vector<std::string>>& answers_by_task() {
  static const std::map<std::string, std::vector<std::string>> answers = {
      {"yesno", {"yes", "no"}},
      {"shape", {"circle", "rectangle", "triangle"}},
      {"color", {"red", "green", "blue", "black", "gray", "teal", "brown", "yellow"}}};
  return answers;
}

Question question_of(const Path& file, const nlohmann::json& entry, Random& random) {
  const std::string text = entry.at(0), answer = entry.at(1);
  for (const auto& [task, answers] : answers_by_task()) {
    if (std::find(answers.begin(), answers.end(), answer) == answers.end()) continue;
    std::string rejected = pick(random, answers);
    while (rejected == answer) rejected = pick(random, answers);
    return {text, answer, rejected, task};
  }
  throw Error("data", file.string(), "one of easy-VQA's 13 answers", answer);
}

std::map<size_t, std::vector<Question>> questions_of(const Path& file, uint64_t seed) {
  std::map<size_t, std::vector<Question>> by_picture;
  size_t index = 0;
  try {
    for (const auto& entry : nlohmann::json::parse(MappedFile(file).text())) {
      Random random = random_for(seed, file.parent_path().filename().string(), index++);
      by_picture[entry.at(2).get<size_t>()].push_back(question_of(file, entry, random));
    }
  } catch (const nlohmann::json::exception& error) {
    throw Error("data", file.string(), json_reason(error.what()));
  }
  return by_picture;
}

}  // namespace

void make_easy_vqa(const Path& sources, const MakeOptions& options, SetWriter& writer) {
  for (const std::string split : {"train", "test"}) {
    const Path folder = sources / "easy-vqa" / split;
    const auto by_picture = questions_of(folder / "questions.json", options.seed);
    const size_t total =
        options.limit ? std::min(options.limit, by_picture.size()) : by_picture.size();
    size_t done = 0;
    for (const auto& [picture, questions] : by_picture) {
      if (done == total) break;
      const Path file = folder / "images" / (std::to_string(picture) + ".png");
      writer.add(split, read_image(file), questions, read_file(file));
      writer.progress(++done, total, split);
    }
  }
}

}  // namespace revenant
