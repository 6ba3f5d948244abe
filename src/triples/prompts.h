// What the two models are asked, after the Phantom paper (arXiv 2409.14713): for an incorrect and
// ambiguous answer as long as the right one, and whether one is.
#pragma once

#include <nlohmann/json.hpp>

#include "triples/standing.h"

namespace revenant {

// Raised whenever the same row would be asked about in other words.
constexpr int prompts_version = 1;

// `pictures` are data URIs of the row's, or none: then the model works by question and answer
// alone, as in the paper. Earlier tries are shown with what is wrong with them.
nlohmann::json wrong_answer_messages(const Row& row, const std::vector<std::string>& pictures,
                                     const History& history, const Rules& rules);
nlohmann::json verdict_messages(const Row& row, const std::vector<std::string>& pictures,
                                const std::string& wrong);

}  // namespace revenant
