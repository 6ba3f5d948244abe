// From logits to a token.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/random.h"

namespace revenant {

// In the order in which they apply (that of Hugging Face's generate).
struct Sampling {
  double repetition_penalty = 1;  // divides positive, multiplies negative logits of seen tokens
  double temperature = 0;         // 0: greedy
  int top_k = 0;                  // 0: all
  double top_p = 1;               // the most likely tokens that reach it together
  double min_p = 0;               // share of the most likely token's probability
  uint64_t seed = 0;
  std::vector<std::pair<int, double>> bias = {};  // token, what is added to its logit; first of all
};

void check(const Sampling& sampling);  // throws Error on values that mean nothing

// `seen` are the tokens generated so far; the prompt is not penalised, as in the released code,
// which hands embeddings to generate. Among equals the lowest id is the likelier one. What is left
// after the cuts is drawn from in the order of ids: a cut that keeps all needs no sorting.
// `allowed` has a flag for each token, or is empty: all. Throws Error on logits that are not
// numbers, and where no token is allowed.
int pick(const Sampling& sampling, std::span<const float> logits, std::span<const int> seen,
         Random& random, std::span<const uint8_t> allowed = {});

// log(sum of exp(logit)): what is taken from a logit to make it a log-probability. Throws Error on
// logits that are not numbers.
double log_sum_exp(std::span<const float> logits);

// Tokens with their log-probabilities under the logits as they are, whatever the sampling.
using TokenLogprob = std::pair<int, double>;
// Of the token `id`, then of the `top` likeliest, the likeliest first, the lowest id among equals.
std::vector<TokenLogprob> logprobs(std::span<const float> logits, int id, int top);

}  // namespace revenant
