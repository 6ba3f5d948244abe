#include "serve/judge.h"

namespace revenant {

void Judge::watch(Request& request) {
  choices_.push_back({request.ids, watch_log_prob(request.options)});
}

std::unique_ptr<Work> Judge::done(const std::string& sender, const Gone& gone, size_t choice,
                                  Generated made) {
  if (!ended(made)) {
    answer_->done(choice, std::move(made));
    return nullptr;
  }
  Watched& watched = choices_[choice];
  Grounding grounding{*watched.log_prob, 0, int(made.ids.size())};
  if (greys_.empty()) {
    conclude(choice, grounding, std::move(made));
    return nullptr;
  }
  auto work = std::make_unique<Work>(
      Work{.sender = sender, .pictures = greys_, .choices = {}, .gone = gone, .done = {}});
  work->choices.push_back(said_again({.ids = watched.prompt}, made.ids));
  work->done = [judge = shared_from_this(), choice, grounding,
                log_prob = watch_log_prob(work->choices[0].options),
                made = std::move(made)](size_t, Generated said) mutable -> std::unique_ptr<Work> {
    if (ended(said)) {
      grounding.log_prob_grey = *log_prob;
      judge->conclude(choice, grounding, std::move(made));
    } else {
      judge->answer_->done(choice, std::move(said));
    }
    return nullptr;
  };
  return work;
}

void Judge::conclude(size_t choice, const Grounding& grounding, Generated made) {
  Judgement judgement;
  if (!greys_.empty()) judgement.grounding = grounding;
  if (abstain_) judgement.abstained = score_of(grounding, abstain_->by) < abstain_->threshold;
  answer_->judged(choice, judgement);
  answer_->done(choice, std::move(made));
}

}  // namespace revenant
