#include "data/asker.h"

namespace revenant {

void Asker::put(const Wordings& wordings, const Words& words, const std::string& task,
                const std::string& answer, const std::string& rejected) {
  const bool unseen = test_ && random_.below(2) == 0;
  const std::string& text = pick(random_, unseen ? wordings.unseen : wordings.seen);
  questions_.push_back({filled_in(text, words), answer, rejected, task, unseen});
}

void Asker::put_yes_no(const Wordings& wordings, const Words& words, const std::string& task,
                       bool yes) {
  put(wordings, words, task, yes ? "yes" : "no", yes ? "no" : "yes");
}

void Asker::put_choice(const Wordings& wordings, std::vector<std::string> options,
                       const std::string& rejected) {
  const std::string right = options.at(0);
  random_.shuffle(options);
  put(wordings, {{"options", lines_of(options)}}, "choice", right, rejected);
}

}  // namespace revenant
