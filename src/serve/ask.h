// What a client asks for, read from the JSON of OpenAI's chat and text completions.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/sampling.h"
#include "serve/failure.h"
#include "serve/schema.h"
#include "text/prompt.h"

namespace revenant {

struct AskLimits {
  int choices = 8;          // n, of all prompts together
  int pictures = 8;         // of a request
  int stops = 16;           // stop strings
  size_t stop_bytes = 256;  // of each
  int prompts = 64;         // of a text completion, and inputs of embeddings
  int top_logprobs = 20;
  int beams = 8;
};

// A picture as it stands in the request: `param` is its path, `uri` lives as long as the JSON.
struct PictureAsked {
  std::string param;
  std::string_view uri;
};

// Turns of a chat's messages, with the pictures. System texts stand before the first question, an
// empty line between; texts of one message are joined by a line break, messages of one role in a
// row by an empty line. Pictures stand before their turn's question, as in the family's template.
struct Talk {
  std::vector<Turn> turns;             // the last one wants an answer
  std::vector<PictureAsked> pictures;  // of all turns, in the order of the prompt
};
Talk talk_of(const nlohmann::json& messages, const std::string& path, const AskLimits& limits,
             std::vector<std::string>& ignored);

struct Ask {
  std::string model;                                                 // empty: none was named
  Talk talk;                                                         // of a chat
  std::vector<std::variant<std::string, std::vector<int>>> prompts;  // of a text completion
  Sampling sampling;
  bool seeded = false;  // the client has chosen the seed
  int choices = 1;
  int max_tokens = 0;     // 0: the server's default
  int top_logprobs = -1;  // -1: no log-probabilities
  std::vector<std::string> stops;
  bool stream = false, usage_chunk = false, echo = false;
  bool ignore_eos = false;      // only max_tokens, stops and the client end the answer
  std::string format = "text";  // response_format
  bool look = false;            // revenant.look, and so on
  int beams = 1;
  bool grounding = false;
  std::optional<bool> abstain;                 // nothing: as the server does
  std::string traverse;                        // empty: the server's
  std::shared_ptr<const JsonGrammar> grammar;  // of the answer; null: any text
  std::vector<std::string> ignored;            // paths of what was sent and changes nothing
};

// `defaults` is what a request that says nothing gets. Throw Failure, 400, that names the
// parameter. The JSON outlives what they return.
Ask chat_ask(const nlohmann::json& body, const AskLimits& limits, const Sampling& defaults = {});
Ask completion_ask(const nlohmann::json& body, const AskLimits& limits,
                   const Sampling& defaults = {});

std::string item(const std::string& path, size_t index);  // the path to it
// Ids of tokens at `path`; throws Failure.
std::vector<int> ids_of(const nlohmann::json& list, const std::string& path);

}  // namespace revenant
