// easy-VQA (Victor Zhou, MIT): its own pictures, questions and split; and, for training and as a
// test of their own, questions in other words about what its answers tell.
#include <nlohmann/json.hpp>

#include <algorithm>

#include "base/error.h"
#include "data/sets.h"
#include "data/words.h"

namespace revenant {
namespace {

const Wordings kColor = {{"What color is it?", "What color is this?", "Which color do you see?",
                          "What is the color of the object?", "Name the color."},
                         {"Which color is this?", "Tell me the color."}};
const Wordings kShape = {{"What shape is it?", "What shape is this?", "Which shape do you see?",
                          "What is the shape of the object?", "Name the shape."},
                         {"Which shape is this?", "Tell me the shape."}};

const std::map<std::string, std::vector<std::string>>& answers_by_task() {
  static const std::map<std::string, std::vector<std::string>> answers = {
      {"yesno", {"yes", "no"}},
      {"shape", {"circle", "rectangle", "triangle"}},
      {"color", {"red", "green", "blue", "black", "gray", "teal", "brown", "yellow"}}};
  return answers;
}

std::string other_answer(Random& random, const std::string& task, const std::string& answer) {
  std::string other = answer;
  while (other == answer) other = pick(random, answers_by_task().at(task));
  return other;
}

Question question_of(const Path& file, const nlohmann::json& entry, Random& random) {
  const std::string text = entry.at(0), answer = entry.at(1);
  for (const auto& [task, answers] : answers_by_task()) {
    if (std::find(answers.begin(), answers.end(), answer) == answers.end()) continue;
    return {text, answer, other_answer(random, task, answer), task};
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

// "a red triangle", where the picture's official questions name the colour and the shape.
std::vector<Question> described(Random& random, const std::vector<Question>& official, bool test) {
  std::string color, shape;
  for (const Question& question : official) {
    if (question.task == "color") color = question.answer;
    if (question.task == "shape") shape = question.answer;
  }
  std::vector<Question> questions;
  const auto put = [&](const Wordings& wordings, const std::string& task, const std::string& answer,
                       const std::string& rejected) {
    questions.push_back(worded(random, test, wordings, {}, task, answer, rejected));
  };
  if (!color.empty()) put(kColor, "color", color, other_answer(random, "color", color));
  if (!shape.empty()) put(kShape, "shape", shape, other_answer(random, "shape", shape));
  if (color.empty() || shape.empty()) return questions;
  put(caption_wordings(), "caption", with_article(color + " " + shape),
      with_article(other_answer(random, "color", color) + " " + shape));
  return questions;
}

}  // namespace

void make_easy_vqa(const Path& sources, const MakeOptions& options, SetWriter& writer) {
  for (const std::string split : {"train", "test"}) {
    const bool test = split == "test";
    const Path folder = sources / "easy-vqa" / split;
    const auto by_picture = questions_of(folder / "questions.json", options.seed);
    const size_t total =
        options.limit ? std::min(options.limit, by_picture.size()) : by_picture.size();
    size_t done = 0;
    for (const auto& [picture, questions] : by_picture) {
      if (done == total) break;
      const Path file = folder / "images" / (std::to_string(picture) + ".png");
      const Image image = read_image(file);
      const std::string png = read_file(file);
      Random random = random_for(options.seed, "easy-vqa described " + split, picture);
      const std::vector<Question> own = described(random, questions, test);
      std::vector<Question> asked = questions;
      if (!test)
        asked.insert(asked.end(), own.begin(), own.end());
      else if (!own.empty())
        writer.add("test_described", image, own, png);
      writer.add(split, image, asked, png);
      writer.progress(++done, total, split);
    }
  }
}

}  // namespace revenant
