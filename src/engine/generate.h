// Answers: one, or several at once in ragged steps.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "engine/sampling.h"
#include "engine/session.h"

namespace revenant {

enum class Finish { stop, length, cancelled, failed };
const char* name_of(Finish finish);  // "stop", "length", "cancelled", "failed"

// Called for every token, with the text that it completes (empty inside a character, for stop
// tokens, and where `speech` is not given). Returning false ends the answer.
using OnToken = std::function<bool(int id, std::string_view text)>;

// Told of a token, before OnToken is, from which logits it was chosen: the model's, as they were.
using OnChoice = std::function<void(int id, std::span<const float> logits)>;
// A flag for each token, whether it may follow those that were generated; empty: all may. What it
// gives stands until it is asked again.
using Allowed = std::function<std::span<const uint8_t>(std::span<const int> made)>;

struct GenerateOptions {
  Sampling sampling;
  int beams = 1;  // above 1: the best of so many beams (beam.h), with temperature 0 only
  int max_new_tokens = 512;
  std::vector<int> stop_ids;
  std::vector<std::string> stop_strings;  // the text ends before them; they need a tokenizer
  const Speech* speech = nullptr;         // gives the text; null: ids only
  OnToken on_token;                       // of beams only at the end, when the tokens are known
  GoOn go_on;                             // false ends the answer, also while the prompt is read
  OnChoice on_choice = {};                // neither with beams
  Allowed allowed = {};
  bool keep_state = false;  // Generated::state is wanted
  // The answer begins with these, which are said rather than chosen: not with beams.
  std::vector<int> said = {};
};

struct Timings {
  double prompt_seconds = 0, generate_seconds = 0;
  int prompt_tokens = 0, generated_tokens = 0;
  int reused_tokens = 0;  // of the prompt: others had computed their rows (EngineOptions::prefixes)
};

struct Generated {
  std::vector<int> ids;  // a stop token that ended the answer is the last of them
  std::string text;      // without it
  Finish finish_reason = Finish::length;
  double score = 0;          // of beams: mean log-probability of the tokens
  std::vector<float> state;  // [hidden] of the prompt's last row, after the last norm
  Timings timings;
  std::optional<Error> failure;  // why it failed
};

struct Request {
  // New, or with an earlier part of the same history. Holds the answer afterwards, or after beams
  // the prompt alone. Null: one of its own, which goes with the answer (not of `generate`).
  Session* session = nullptr;
  std::vector<int> ids = {};  // the whole prompt
  Tensor features = {};       // a row for each of its picture tokens
  GenerateOptions options = {};
  // No prompt will follow: what only one that goes on would need is given back before the answer.
  bool last = false;
  // Of a session of its own: beginnings are shared only with requests of the same one.
  std::string salt = {};
};

// What to tell who asks for more tokens than the rotary rule covers; empty: nothing. Stretching
// rules (dynamic) cover any number; past what others were made for, answers get worse, not wrong.
std::string length_warning(const Config& config, int tokens);

Generated generate(const Request& request);  // throws what failed
// The same answers as one by one, computed together. What fails (a key that the cache cannot hold,
// logits that are no numbers, a bad id, no memory) ends its own answer only; options that mean
// nothing throw before any work.
std::vector<Generated> generate(std::span<const Request> requests);

// A question about pictures, in the model's own template. Stop tokens and the released filter of
// answers are the family's; `options` may add more.
Generated answer(const Model& model, std::span<const Image> pictures, const std::string& question,
                 GenerateOptions options = {});

}  // namespace revenant
