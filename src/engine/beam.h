// Beam search as Hugging Face's generate does it (4.37: length_penalty 1, early_stopping false): of
// twice as many candidates as beams, those that end become hypotheses if they are among the best n,
// the others go on; a hypothesis counts by its sum of log-probabilities over its new tokens. The
// papers' numbers are made with 3 (Phantom) and 5 (TroL) beams.
#pragma once

#include <deque>
#include <set>
#include <span>
#include <vector>

#include "engine/session.h"

namespace revenant {

struct BeamOptions {
  int beams = 3;
  int max_new_tokens = 512;
  std::set<int> stop_ids;
  double repetition_penalty = 1;  // of log-probabilities
};

struct Hypothesis {
  std::vector<int> ids;  // a stop token that ended it is the last of them
  double score = 0;      // sum of log-probabilities / number of ids
};

// The search, which knows nothing of models.
class BeamSearch {
 public:
  struct Beam {
    std::vector<int> ids;  // new tokens
    double sum = 0;        // of their log-probabilities
    int parent = 0;        // the beam of the step before that it goes on from
  };

  explicit BeamSearch(const BeamOptions& options) : options_(options), open_(1) {}

  // Logits of each open beam's next token, in rows from `first_row`; before the first call there is
  // one beam, the prompt.
  void take(const Tensor& logits, int first_row = 0);
  bool done() const { return settled_ || open_.empty() || length_ >= options_.max_new_tokens; }
  const std::vector<Beam>& open() const { return open_; }
  Hypothesis best() const;

 private:
  BeamOptions options_;
  std::vector<Beam> open_;
  std::vector<Hypothesis> ended_;  // the best so far, at most as many as beams
  int length_ = 0;                 // new tokens of each open beam
  bool settled_ = false;           // no open beam can become better than what has ended
};

// The search with a session for each open beam. The rows of the prompt stay where they are; only
// the rows of new tokens move between beams.
class Beams {
 public:
  // `session` holds the prompt; it is one of the beams until `close` gives it back as it was.
  Beams(Session& session, const BeamOptions& options);
  void take(const Tensor& logits, int first_row = 0);
  const BeamSearch& search() const { return search_; }
  // Of the next step, one a beam.
  std::span<Session* const> sessions() const { return lanes_; }
  void put();  // each lane's last token
  void close();

 private:
  Session* lane_for(const Session& parent);

  Session& prompt_;
  int prompt_tokens_;
  BeamSearch search_;
  std::deque<Session> forks_;
  std::vector<Session*> lanes_, spare_;  // of the open beams; of none
};

}  // namespace revenant
