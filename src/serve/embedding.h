// Embeddings: what a client asks for, and what it is told. An embedding is the state of the last
// token after the last norm, as long as 1: what vLLM gives of decoders (pooling LAST, normalised).
#pragma once

#include <mutex>
#include <variant>

#include "serve/answer.h"

namespace revenant {

struct EmbeddingAsk {
  struct Input {
    std::string path;                                      // in the request
    std::variant<std::string, std::vector<int>, Talk> of;  // a text, ids, or a chat's prompt
  };
  std::string model;  // empty: none was named
  std::vector<Input> inputs;
  bool base64 = false;
  int dimensions = 0;  // that the client counts on; 0: it says nothing
  std::vector<std::string> ignored;
};

// Throws Failure, 400, that names the parameter. The JSON outlives what it returns.
EmbeddingAsk embedding_ask(const nlohmann::json& body, const AskLimits& limits);

// As long as 1. Throws Error where that cannot be.
std::vector<float> normalised(std::span<const float> state);

class EmbeddingAnswer {
 public:
  EmbeddingAnswer(std::string model, bool base64, int dimensions, std::vector<std::string> ignored,
                  int prompt_tokens, size_t inputs, Client client, Metrics& metrics);

  void done(size_t index, Generated made);  // the last one ends the answer

 private:
  void finish();

  const std::string model_;
  const bool base64_;
  const int dimensions_;
  const std::vector<std::string> ignored_;
  const int prompt_tokens_;
  const Client client_;
  Metrics& metrics_;
  const Stopwatch asked_;

  std::mutex mutex_;  // of what follows
  std::vector<nlohmann::json> made_;
  size_t left_;
  int reused_ = 0;
  std::optional<Failure> failure_;
};

}  // namespace revenant
