// What is found out about an answer before its client is told how it ended: how much it owes to its
// pictures, and whether it is sure enough to be given.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/calibration.h"
#include "serve/answer.h"
#include "serve/scheduler.h"

namespace revenant {

class Judge : public std::enable_shared_from_this<Judge> {
 public:
  // `greys`: what is shown instead of the pictures; none: it is not wanted to be known.
  // `abstain`: null: every answer is given.
  Judge(std::shared_ptr<Answer> answer, std::shared_ptr<const Calibration> abstain,
        std::vector<std::shared_ptr<const TiledPicture>> greys)
      : answer_(std::move(answer)), abstain_(std::move(abstain)), greys_(std::move(greys)) {}

  // Of each choice, in their order, before it is handed in.
  void watch(Request& request);
  // As Work::done: tells the answer, now or after what it returns.
  std::unique_ptr<Work> done(const std::string& sender, const Gone& gone, size_t choice,
                             Generated made);

 private:
  struct Watched {
    std::vector<int> prompt;
    std::shared_ptr<const double> log_prob;
  };
  void conclude(size_t choice, const Grounding& grounding, Generated made);

  const std::shared_ptr<Answer> answer_;
  const std::shared_ptr<const Calibration> abstain_;
  const std::vector<std::shared_ptr<const TiledPicture>> greys_;
  std::vector<Watched> choices_;
};

}  // namespace revenant
