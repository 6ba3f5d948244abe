// An answer on its way to its client: tokens become the JSON of OpenAI's completions, whole or as
// a stream of chunks.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/grounding.h"
#include "serve/ask.h"
#include "serve/metrics.h"
#include "text/unicode.h"

namespace revenant {

struct Reply {
  int status = 200;
  std::string type = "application/json", body;
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string cache = "no-store";  // Cache-Control
};
Reply json_reply(const nlohmann::json& body, int status = 200);
Reply failure_reply(const Failure& failure);
bool ended(const Generated& made);          // by itself or by its length
Failure failure_of(const Generated& made);  // of one that did not

// Who gets a reply: one that is whole, or events (server-sent, the data of each) and their end. May
// be called from any thread; `gone` is set, by whoever knows, once nobody listens any more.
struct Client {
  std::function<void(Reply)> reply;
  std::function<void(std::string)> event;
  std::function<void()> end;
  std::shared_ptr<std::atomic<bool>> gone;
};

// What an answer is told back with.
struct Told {
  std::string model;
  nlohmann::json parameters;         // all of them, as they are used
  std::vector<std::string> ignored;  // what was sent and changes nothing
  bool chat = true, stream = false, usage_chunk = false;
  int top_logprobs = -1;  // -1: none
  bool abstains = false;  // an answer is told once it is known whether it is given
  // Of each choice, before what is generated: of text completions that echo their prompts.
  std::vector<std::string> echo;
  int prompt_tokens = 0;                 // of all prompts
  size_t choices = 1, choices_each = 1;  // of all prompts; of one
  std::vector<int> stop_ids;
};

// What a Judge found.
struct Judgement {
  std::optional<Grounding> grounding;
  std::optional<bool> abstained;  // true: the answer is not given
};

class Answer {
 public:
  Answer(Told told, Client client, const Speech& speech, Metrics& metrics);

  // Sends a stream's first chunk, unless it is sent already.
  void open();
  // Of a choice, from the computing thread.
  void choice(size_t index, int id, std::span<const float> logits);
  void token(size_t index, std::string_view text);
  void looked(nlohmann::json look);  // this and the next one before `done`
  void judged(size_t index, const Judgement& judgement);
  void done(size_t index, Generated made);  // the last one ends the answer

 private:
  struct Choice {
    TrimmedStream trimmed;
    std::string text;
    std::vector<nlohmann::json> logprobs, fresh;  // of tokens; fresh: not sent yet
    std::vector<size_t> offsets;
    std::string finish;
    int reused = 0;  // tokens of the prompt
    Judgement judgement = {};
    std::optional<Stopwatch> last;  // since the last token
  };
  nlohmann::json head(bool chunk) const;
  nlohmann::json logprobs_json(const Choice& choice, const std::vector<nlohmann::json>& of) const;
  nlohmann::json choice_json(size_t index) const;
  void send_chunk(size_t index, const std::string& text, const char* finish);
  void send_held(size_t index);
  void measure_token(Choice& choice);
  void finish();
  int reused_tokens() const;
  nlohmann::json usage() const;

  const Told told_;
  const Client client_;
  const Speech& speech_;
  Metrics& metrics_;
  const std::string id_;
  const int64_t created_;
  const Stopwatch asked_;

  std::mutex mutex_;  // of what follows
  bool open_ = false;
  std::vector<Choice> choices_;
  size_t left_;
  Timings timings_;  // sums
  std::optional<Failure> failure_;
  nlohmann::json look_;  // null: nobody asked
};

}  // namespace revenant
