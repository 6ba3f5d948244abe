// A chat model behind an OpenAI-compatible server: paced, asked again where that may help, counted.
#pragma once

#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/random.h"
#include "base/stop.h"
#include "client/events.h"
#include "client/http.h"

namespace revenant {

struct ChatOptions {
  Url url;                                         // .../v1
  std::string model;                               // as the server calls it
  std::string key;                                 // empty: none is sent
  nlohmann::json body = nlohmann::json::object();  // more fields of each request
  HttpLimits limits = {};
  double per_minute = 0;                            // requests that are begun at most; 0: no limit
  int retries = 6;                                  // of a request, after its first try
  HttpLimits::Seconds pause{1}, longest_pause{60};  // before the first retry, doubled with each
  HttpLimits::Seconds patience{600};  // a server that asks for a longer pause ends the work
};

// Of all who ask one server.
class ChatServer {
 public:
  explicit ChatServer(ChatOptions options) : options_(std::move(options)) {}
  const ChatOptions& options() const { return options_; }

  // Until the next request may begin. Throws Stopped.
  void await_turn(const GoOn& go_on);
  void rest(HttpLimits::Seconds pause);  // nobody begins one for so long
  // Another model of the same server's: a rest is both's.
  void stands_with(ChatServer& other) { other_ = &other; }

  std::atomic<size_t> requests{0}, retries{0};

 private:
  using Clock = std::chrono::steady_clock;
  void rest_until(Clock::time_point when);

  const ChatOptions options_;
  ChatServer* other_ = nullptr;
  std::mutex turns_;
  Clock::time_point next_{};
};

struct ChatReply {
  std::string text;
  bool whole = true;  // it ended by itself
  // Tokens as the server counts them; below 0: it did not say. Cached: of the prompt, not computed
  // for this answer.
  int64_t prompt_tokens = -1, completion_tokens = -1, cached_tokens = -1;
};

// This request cannot be answered; another one may be.
struct NotAnswered : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// An answer of 200 that is no chat completion.
struct NoChat : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// One after the other; of one thread.
class ChatClient {
 public:
  explicit ChatClient(ChatServer& server, uint64_t seed = 0);

  // Throws NotAnswered; Error where no further request would be answered either (a wrong key, no
  // such model, nothing left to spend); Stopped.
  ChatReply ask(const nlohmann::json& messages, const GoOn& go_on = {});

  // The same as a stream, whose text is told as it comes (never empty; reasoning, where a server
  // tells it apart, is told as `thought` and is no part of the reply). It is asked for once: what
  // was told cannot be taken back.
  struct Told {
    std::string_view text;
    bool thought = false;
  };
  using OnText = std::function<void(const Told&)>;
  ChatReply stream(const nlohmann::json& messages, const OnText& on_text, const GoOn& go_on = {});

  // Names of the models that the server has.
  std::vector<std::string> models(const GoOn& go_on = {});

 private:
  std::string request(const nlohmann::json& messages, bool stream) const;
  HttpClient::Headers headers() const;
  std::string refusal(const HttpAnswer& answer) const;
  HttpLimits::Seconds pause_before(int retry, const HttpAnswer* answer);

  ChatServer& server_;
  HttpClient http_;
  Random random_;
};

// Seconds, or a date of HTTP as seconds from now (never below 0); nothing: neither.
std::optional<double> retry_after_seconds(const std::string& text, int64_t now);

// Throw NoChat, naming `subject`.
ChatReply parse_chat_reply(const std::string& body, const std::string& subject);
std::vector<std::string> parse_models(const std::string& body, const std::string& subject);

// Chunks of a streamed chat completion, up to the event [DONE], without which none is whole. Throws
// NoChat, naming `subject`, and NotAnswered with what the server says of a failure on the way.
class ChatChunks {
 public:
  ChatChunks(std::string subject, ChatClient::OnText on_text)
      : subject_(std::move(subject)), on_text_(std::move(on_text)) {}

  void push(std::string_view bytes);
  ChatReply reply() const;  // once all has come

 private:
  void event(const std::string& data);
  void choice(const nlohmann::json& choice);
  void tell(const nlohmann::json& delta, const char* field);

  const std::string subject_;
  const ChatClient::OnText on_text_;
  EventReader events_;
  ChatReply reply_;
  bool finished_ = false, done_ = false;
};

}  // namespace revenant
