// easy-VQA (Victor Zhou, MIT): its own pictures, questions and split; and, for training and as a
// test of their own, questions in other words about what its answers tell.
#include <algorithm>

#include "base/error.h"
#include "data/entries.h"
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

// A picture's number, and its official questions.
using Asked = std::pair<size_t, std::vector<Question>>;

std::vector<Asked> questions_of(const Path& file, uint64_t seed) {
  std::map<size_t, std::vector<Question>> by_picture;
  for_each_entry(file, [&](const nlohmann::json& entry, size_t index) {
    Random random = random_for(seed, file.parent_path().filename().string(), index);
    by_picture[entry.at(2).get<size_t>()].push_back(question_of(file, entry, random));
  });
  return {by_picture.begin(), by_picture.end()};
}

// "a red triangle", where the picture's official questions name the colour and the shape.
std::vector<Question> described(Random& random, const std::vector<Question>& official, bool test) {
  std::string color, shape;
  for (const Question& question : official) {
    if (question.task == "color") color = question.answer;
    if (question.task == "shape") shape = question.answer;
  }
  Asker asker(random, test);
  if (!color.empty()) asker.put(kColor, {}, "color", color, other_answer(random, "color", color));
  if (!shape.empty()) asker.put(kShape, {}, "shape", shape, other_answer(random, "shape", shape));
  if (!color.empty() && !shape.empty())
    asker.put(caption_wordings(), {}, "caption", with_article(color + " " + shape),
              with_article(other_answer(random, "color", color) + " " + shape));
  return asker.questions();
}

}  // namespace

void make_easy_vqa(const Path& sources, const MakeOptions& options, SetWriter& writer) {
  for (const std::string split : {"train", "test"}) {
    const bool test = split == "test";
    const Path folder = sources / "easy-vqa" / split;
    const std::vector<Asked> all = questions_of(folder / "questions.json", options.seed);
    const auto own = [&](size_t i) {
      Random random = random_for(options.seed, "easy-vqa described " + split, all[i].first);
      return described(random, all[i].second, test);
    };
    const auto item = [&](size_t i, std::vector<Question> questions) -> Item {
      const Path file = folder / "images" / (std::to_string(all[i].first) + ".png");
      return {read_image(file), std::move(questions), read_file(file)};
    };
    if (test)
      writer.add_all("test_described", all.size(), [&](size_t i) { return item(i, own(i)); });
    writer.add_all(split, all.size(), [&](size_t i) {
      std::vector<Question> asked = all[i].second;
      if (!test) std::ranges::copy(own(i), std::back_inserter(asked));
      return item(i, std::move(asked));
    });
  }
}

}  // namespace revenant
