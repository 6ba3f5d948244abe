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

int64_t tokens_at(const json& usage, const char* key) {
  const auto found = usage.is_object() ? usage.find(key) : usage.end();
  return usage.is_object() && found != usage.end() && found->is_number_unsigned()
             ? found->get<int64_t>()
             : -1;
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
  const std::lock_guard lock(turns_);
  next_ = std::max(next_, Clock::now() + span_of(pause));
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

ChatReply ChatClient::ask(const json& messages, const GoOn& go_on) {
  const ChatOptions& options = server_.options();
  json request = {{"model", options.model}, {"messages", messages}};
  request.update(options.body);
  const std::string body = json_text(request), subject = options.url.text();
  HttpClient::Headers headers;
  if (!options.key.empty()) headers.emplace_back("Authorization", "Bearer " + options.key);
  for (int retry = 0;; ++retry) {
    server_.await_turn(go_on);
    ++server_.requests;
    std::optional<HttpAnswer> answer;
    std::string failed;
    try {
      answer = http_.post("/chat/completions", headers, body);
      if (answer->status == 200) return parse_chat_reply(answer->body, subject);
      const ServerError error = error_of(answer->body);
      failed = subject + ": status " + std::to_string(answer->status) + ": " + error.message;
      if (is_final(answer->status, error.code))
        throw Error("client", subject, "status 200",
                    std::to_string(answer->status) + ": " +
                        (answer->location.empty() ? error.message : "to " + answer->location));
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
    const json usage = whole.value("usage", json());
    reply.prompt_tokens = tokens_at(usage, "prompt_tokens");
    reply.completion_tokens = tokens_at(usage, "completion_tokens");
    return reply;
  } catch (const json::exception&) {
    throw NoChat(subject + ": expected a chat completion, found " + shown(json(body)));
  } catch (const Error& error) {
    throw NoChat(error.what());
  }
}

}  // namespace revenant
