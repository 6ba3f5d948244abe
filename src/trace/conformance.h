// Do the numbers of a trace equal the authors'? The rules are those of the conformance README, "How
// to compare". What the goldens hold and the trace lacks is a miss; only gradients and AdamW are
// not asked of an executor without autograd.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "trace/trace.h"

namespace revenant {

// What golden.json says beside the tensors.
struct GoldenNotes {
  std::vector<std::string> zero_gradients;  // parameters whose gradient is only rounding noise
  double global_gradient_norm = 0;
  bool batch_from_single_rows = false;  // TroL on InternLM2: generation of row 1 is batch_row.1's
  std::vector<std::string> preference_order = {};  // parameters, as po/J/grad_norms has them
};

GoldenNotes golden_notes(const nlohmann::json& notes, const Arrays& golden);

struct Comparison {
  std::string name;  // golden tensor
  std::string kind;  // "vision", "prefill", "gradients", "po", ...
  double error = 0;  // in units of the tolerance: at most 1 is a match; infinite: missing, of
                     // another size, or not a number
};

std::vector<Comparison> compare_with_golden(const Arrays& golden, const Arrays& found,
                                            const GoldenNotes& notes, bool autograd);

// What golden.json knows and config.json does not, as settings over it: CLIP's sizes and the rank
// of the picture's low-rank branch.
std::vector<std::string> golden_settings(const nlohmann::json& notes);

}  // namespace revenant
