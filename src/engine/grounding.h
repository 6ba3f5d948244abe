// What an answer owes to its pictures: how likely the model found it, against how likely it finds
// the same words where it is shown grey pictures instead.
#pragma once

#include <memory>

#include "engine/generate.h"
#include "image/image.h"

namespace revenant {

// Logarithms to base e, summed over the answer's tokens, the one that ends it included; under the
// model's own logits, before penalties, temperature and whatever else chooses.
struct Grounding {
  double log_prob = 0;       // log p(answer | pictures, question)
  double log_prob_grey = 0;  // the same where every picture is grey
  int tokens = 0;

  double value() const { return log_prob - log_prob_grey; }
};

// What is shown instead of a picture: of its size, grey all over.
Image grey_picture(int width, int height);

// Sums the log-probabilities of what a request's answer is made of, whoever else is told of it.
std::shared_ptr<const double> watch_log_prob(GenerateOptions& options);

// The request that has this answer said, and nothing chosen.
Request said_again(const Request& request, std::vector<int> answer);

}  // namespace revenant
