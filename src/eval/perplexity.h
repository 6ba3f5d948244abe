// How well a model foretells a text: what quantised weights and further training cost a language.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "engine/model.h"

namespace revenant {

struct Perplexity {
  double mean = 0;       // negative log-likelihood of a token, in nats
  double deviation = 0;  // of one token's; the mean's standard error is this / sqrt(tokens)
  int64_t tokens = 0;    // that were foretold
  double value() const;  // exp(mean)
};

struct PerplexityOptions {
  int context = 512;                                             // tokens of a chunk
  std::function<void(size_t done, size_t total)> progress = {};  // chunks
  GoOn go_on = {};
};

// As llama.cpp's llama-perplexity counts: the text in chunks of `context` tokens that do not see
// each other, in each the second half foretold, what is left over left out. The first half is
// prompt, the second is computed as what a model generates (TroL passes it once). Throws Error
// unless there is one whole chunk, or if an id is none of the model's.
Perplexity perplexity(const Model& model, std::span<const int> ids,
                      const PerplexityOptions& options = {});

}  // namespace revenant
