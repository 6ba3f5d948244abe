#include "client/chat.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/json.h"

namespace revenant {

using nlohmann::json;
using Seconds = HttpLimits::Seconds;

namespace {

constexpr int too_many = 429;

// What a server may think better of: it is busy, or something between broke.
bool may_pass(int status) {
  return status == 408 || status == 409 || status == 425 || status == too_many || status >= 500;
}

// What holds for every request to come.
bool is_final(int status, const std::string& code) {
  return (status >= 300 && status < 400) || (status >= 401 && status <= 405) ||
         code == "insufficient_quota";
}

// {"error": {"message", "code"}}, or {"error": "..."}, or whatever came, shortened.
struct ServerError {
  std::string message, code;
};
ServerError error_of(const std::string& body) {
  json whole;
  try {
    whole = parse_json(body, {"client", "answer"});
  } catch (const Error&) {
    // shown as it is
  }
  const auto at = [](const json& object, const char* key) {
    return object.is_object() && object.contains(key) ? object[key] : json();
  };
  const json error = at(whole, "error"), message = at(error, "message"), code = at(error, "code");
  if (message.is_string()) return {shown(message), code.is_string() ? code.get<std::string>() : ""};
  return {shown(error.is_null() ? json(body) : error), ""};
}

void sleep_unless_stopped(std::chrono::steady_clock::time_point until, const GoOn& go_on) {
  using namespace std::chrono;
  for (;;) {
    stop_unless(go_on);
    const auto left = until - steady_clock::now();
    if (left <= left.zero()) return;
    std::this_thread::sleep_for(std::min<steady_clock::duration>(left, milliseconds(50)));
  }
}

std::chrono::steady_clock::duration span_of(Seconds seconds) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(seconds);
}

// Of one answer; a larger number was not counted.
constexpr uint64_t most_tokens = 1'000'000'000;

int64_t tokens_at(const json& usage, const char* key) {
  const auto found = usage.is_object() ? usage.find(key) : usage.end();
  return usage.is_object() && found != usage.end() && found->is_number_unsigned() &&
                 found->get<uint64_t>() <= most_tokens
             ? found->get<int64_t>()
             : -1;
}

void count_tokens(ChatReply& reply, const json& usage) {
  if (!usage.is_object()) return;
  reply.prompt_tokens = tokens_at(usage, "prompt_tokens");
  reply.completion_tokens = tokens_at(usage, "completion_tokens");
  reply.cached_tokens = tokens_at(usage.value("prompt_tokens_details", json()), "cached_tokens");
}

}  // namespace

void ChatServer::await_turn(const GoOn& go_on) {
  for (;;) {
    Clock::time_point turn;
    {
      const std::lock_guard lock(turns_);
      const auto now = Clock::now();
      if (next_ <= now) {
        if (options_.per_minute > 0) next_ = now + span_of(Seconds(60 / options_.per_minute));
        return;
      }
      turn = next_;
    }
    sleep_unless_stopped(turn, go_on);
  }
}

void ChatServer::rest(Seconds pause) {
  const auto when = Clock::now() + span_of(pause);
  rest_until(when);
  if (other_) other_->rest_until(when);
}

void ChatServer::rest_until(Clock::time_point when) {
  const std::lock_guard lock(turns_);
  next_ = std::max(next_, when);
}

ChatClient::ChatClient(ChatServer& server, uint64_t seed)
    : server_(server), http_(server.options().url, server.options().limits), random_(seed) {}

// Doubled with each retry, and up to half of it less, so that those who failed together do not come
// back together; never less than the server asks for.
Seconds ChatClient::pause_before(int retry, const HttpAnswer* answer) {
  const ChatOptions& options = server_.options();
  const Seconds own = std::min(options.longest_pause, options.pause * std::exp2(retry)) *
                      (1 - random_.uniform() / 2);
  const auto asked =
      answer ? retry_after_seconds(answer->retry_after, unix_seconds()) : std::nullopt;
  if (!asked) return own;
  if (Seconds(*asked) > options.patience)
    throw Error(
        "client", options.url.text(),
        "a server that answers within " + std::to_string(int64_t(options.patience.count())) + " s",
        "one that asks for a pause of " + std::to_string(int64_t(*asked)) + " s");
  server_.rest(Seconds(*asked));  // it speaks to all of us
  return std::max(own, Seconds(*asked));
}

std::string ChatClient::request(const json& messages, bool stream) const {
  json request = {{"model", server_.options().model}, {"messages", messages}};
  if (stream) request.update({{"stream", true}, {"stream_options", {{"include_usage", true}}}});
  request.update(server_.options().body);
  return json_text(request);
}

HttpClient::Headers ChatClient::headers() const {
  const std::string& key = server_.options().key;
  if (key.empty()) return {};
  return {{"Authorization", "Bearer " + key}};
}

// Why there is no answer, where there may be one to another request.
std::string ChatClient::refusal(const HttpAnswer& answer) const {
  const std::string subject = server_.options().url.text();
  const ServerError error = error_of(answer.body);
  if (is_final(answer.status, error.code))
    throw Error("client", subject, "status 200",
                std::to_string(answer.status) + ": " +
                    (answer.location.empty() ? error.message : "to " + answer.location));
  return subject + ": status " + std::to_string(answer.status) + ": " + error.message;
}

ChatReply ChatClient::ask(const json& messages, const GoOn& go_on) {
  const ChatOptions& options = server_.options();
  const std::string body = request(messages, false);
  for (int retry = 0;; ++retry) {
    server_.await_turn(go_on);
    ++server_.requests;
    std::optional<HttpAnswer> answer;
    std::string failed;
    try {
      answer = http_.post("/chat/completions", headers(), body);
      if (answer->status == 200) return parse_chat_reply(answer->body, options.url.text());
      failed = refusal(*answer);
      if (!may_pass(answer->status)) throw NotAnswered(failed);
    } catch (const NoAnswer& none) {
      failed = none.what();
    } catch (const NoChat& wrong) {
      failed = wrong.what();
    }
    if (retry == options.retries) throw NotAnswered(failed);
    const Seconds pause = pause_before(retry, answer ? &*answer : nullptr);
    ++server_.retries;
    sleep_unless_stopped(std::chrono::steady_clock::now() + span_of(pause), go_on);
  }
}

ChatReply ChatClient::stream(const json& messages, const OnText& on_text, const GoOn& go_on) {
  server_.await_turn(go_on);
  ++server_.requests;
  try {
    ChatChunks chunks(server_.options().url.text(), on_text);
    const HttpAnswer answer = http_.stream(
        "/chat/completions", headers(), request(messages, true),
        [&](std::string_view part) { chunks.push(part); }, go_on);
    if (answer.status != 200) throw NotAnswered(refusal(answer));
    return chunks.reply();
  } catch (const NoAnswer& none) {
    throw NotAnswered(none.what());
  } catch (const NoChat& wrong) {
    throw NotAnswered(wrong.what());
  }
}

std::vector<std::string> ChatClient::models(const GoOn& go_on) {
  try {
    const HttpAnswer answer = http_.get("/models", headers(), go_on);
    if (answer.status != 200) throw NotAnswered(refusal(answer));
    return parse_models(answer.body, server_.options().url.text());
  } catch (const NoAnswer& none) {
    throw NotAnswered(none.what());
  } catch (const NoChat& wrong) {
    throw NotAnswered(wrong.what());
  }
}

std::optional<double> retry_after_seconds(const std::string& text, int64_t now) {
  if (!text.empty() && text.size() <= 9 && text.find_first_not_of("0123456789") == text.npos)
    return std::stod(text);
  std::tm date{};
  const char* end = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &date);
  if (!end || *end) return {};
  return double(std::max(int64_t(0), int64_t(::timegm(&date)) - now));
}

ChatReply parse_chat_reply(const std::string& body, const std::string& subject) {
  try {
    const json whole = parse_json(body, {"client", subject});
    const json& choice = whole.at("choices").at(0);
    const json& message = choice.at("message");
    const json content = message.value("content", json());
    ChatReply reply;
    // A refusal has a field of its own, or no content.
    if (content.is_string())
      reply.text = content.get<std::string>();
    else if (!content.is_null())
      throw NoChat(subject + ": expected a text as content, found " + shown(content));
    const json finish = choice.value("finish_reason", json());
    reply.whole = content.is_string() && (finish.is_null() || finish == "stop");
    count_tokens(reply, whole.value("usage", json()));
    return reply;
  } catch (const json::exception&) {
    throw NoChat(subject + ": expected a chat completion, found " + shown(json(body)));
  } catch (const Error& error) {
    throw NoChat(error.what());
  }
}

std::vector<std::string> parse_models(const std::string& body, const std::string& subject) {
  try {
    const json whole = parse_json(body, {"client", subject});
    std::vector<std::string> names;
    for (const json& model : whole.at("data")) names.push_back(model.at("id"));
    return names;
  } catch (const json::exception&) {
    throw NoChat(subject + ": expected a list of models, found " + shown(json(body)));
  } catch (const Error& error) {
    throw NoChat(error.what());
  }
}

void ChatChunks::push(std::string_view bytes) {
  try {
    events_.push(bytes, [this](const std::string& data) { event(data); });
  } catch (const NoEvents& wrong) {
    throw NoChat(subject_ + ": " + wrong.what());
  } catch (const json::exception&) {
    throw NoChat(subject_ + ": expected chunks of a chat completion, found something else");
  } catch (const Error& error) {
    throw NoChat(error.what());
  }
}

void ChatChunks::event(const std::string& data) {
  if (done_) throw NoChat(subject_ + ": expected [DONE] as the last event, found one after it");
  if (data == "[DONE]") return void(done_ = true);
  const json chunk = parse_json(data, {"client", subject_});
  if (chunk.contains("error"))
    throw NotAnswered(subject_ + ": after the answer had begun: " + error_of(data).message);
  for (const json& one : chunk.at("choices")) choice(one);
  count_tokens(reply_, chunk.value("usage", json()));
}

void ChatChunks::choice(const json& choice) {
  if (choice.value("index", 0) != 0) throw NoChat(subject_ + ": expected one choice, found more");
  const json delta = choice.value("delta", json::object());
  for (const char* field : {"content", "refusal", "reasoning_content"}) tell(delta, field);
  const json finish = choice.value("finish_reason", json());
  if (finish.is_null()) return;
  finished_ = true;
  reply_.whole = finish.get<std::string>() == "stop";
}

void ChatChunks::tell(const json& delta, const char* field) {
  const json text = delta.value(field, json());
  if (text.is_null() || text == "") return;
  if (finished_) throw NoChat(subject_ + ": expected no text after the last, found some");
  const bool thought = std::string_view(field) == "reasoning_content";
  const std::string told = text;
  if (!thought) reply_.text += told;
  if (on_text_) on_text_({told, thought});
}

ChatReply ChatChunks::reply() const {
  if (!events_.between() || !done_)
    throw NoChat(subject_ + ": expected a stream that ends with [DONE], found one that was cut");
  if (!finished_) throw NoChat(subject_ + ": expected a finish_reason, found none");
  return reply_;
}

}  // namespace revenant
