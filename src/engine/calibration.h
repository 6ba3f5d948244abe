// When an answer is sure enough to be given: a threshold on a score of answers, chosen on labelled
// examples so that wrong answers stay rare on questions of the same kind. Conformal risk control
// (Angelopoulos, Bates, Fisch, Lei, Schuster, "Conformal Risk Control", 2024, theorem 1), of the
// loss "it was answered, and wrongly".
#pragma once

#include <span>
#include <string>

#include "base/file.h"
#include "engine/grounding.h"

namespace revenant {

enum class Score { probability, grounding };
const char* name_of(Score by);
double score_of(const Grounding& answer, Score by);  // log_prob, or value(); the higher the surer

struct Scored {
  double score = 0;
  bool right = false;
};

// How many of so many examples may be answered wrongly. Throws Error where they are too few.
double most_wrong(size_t examples, double risk);

// The lowest threshold under which at most the share `risk` of all questions is answered, and
// wrongly: on average over such sets of examples, for questions drawn as they were. Throws Error
// where they are too few, or their surest answers are wrong too often.
double threshold_for(std::span<const Scored> examples, double risk);

// What of some questions is answered under a threshold.
struct Coverage {
  int questions = 0, answered = 0, wrong = 0;  // wrong: of those that were answered
};
Coverage coverage(std::span<const Scored> examples, double threshold);
// The same where the surest are answered, as many as are nearest to a share of them.
Coverage coverage_at(std::span<const Scored> examples, double share);
// How well the score tells right from wrong: how often a right one's is the higher one (AUROC); 0.5
// where there are none of a kind.
double separation(std::span<const Scored> examples);

struct Calibration {
  std::string model;  // ModelFiles::digest
  Score by = Score::probability;
  double threshold = 0;  // an answer whose score is lower is not given
  double risk = 0;
  Coverage examples = {};  // under the threshold
};
// A JSON file. Throw Error naming file and field.
Calibration read_calibration(const Path& file);
void write_calibration(const Path& file, const Calibration& calibration);

}  // namespace revenant
