// Which objective a recipe asks for (train/objective.h has the formulas).
#pragma once

namespace revenant {

struct ObjectiveConfig {
  enum class Kind { sft, po, simpo, dpo, ipo } kind = Kind::sft;
  double beta = 2;              // of the log-probabilities; Phantom's (section 3, eq. 4)
  double gamma = 0.5;           // of PO and SimPO: the margin that the chosen answer should have
  double sft_weight = 1;        // of PO: of its supervised term
  bool count_end_token = true;  // the token that ends an answer is part of it
  double traverse_budget = 0;   // of TroL: what a mean gate of 1 costs

  bool takes_pairs() const { return kind != Kind::sft; }
  bool takes_reference() const { return kind == Kind::dpo || kind == Kind::ipo; }
};

}  // namespace revenant
