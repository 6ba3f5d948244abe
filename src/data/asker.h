// Questions about one picture: what every set shares in asking them.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "base/random.h"
#include "data/words.h"

namespace revenant {

struct Question {
  std::string text, answer, rejected, task;
  bool unseen_wording = false;
};

// In training it asks in seen wordings only; in tests half of its questions are in unseen ones.
class Asker {
 public:
  Asker(Random& random, bool test) : random_(random), test_(test) {}

  void put(const Wordings& wordings, const Words& words, const std::string& task,
           const std::string& answer, const std::string& rejected);
  void put_yes_no(const Wordings& wordings, const Words& words, const std::string& task, bool yes);
  // {options} of the wording, in any order; options[0] is right.
  void put_choice(const Wordings& wordings, std::vector<std::string> options,
                  const std::string& rejected);

  const std::vector<Question>& questions() const { return questions_; }

 protected:
  // One chance in two, for questions that tests always ask and training now and then.
  bool asks_this_time() { return test_ || random_.below(2) == 0; }

  Random& random_;
  const bool test_;

 private:
  std::vector<Question> questions_;
};

// `first` and what `more()` gives, until they are `count` different ones.
std::vector<std::string> distinct(const std::string& first, size_t count, const auto& more) {
  std::vector<std::string> all = {first};
  while (all.size() < count)
    if (const std::string one = more(); std::ranges::find(all, one) == all.end())
      all.push_back(one);
  return all;
}

}  // namespace revenant
