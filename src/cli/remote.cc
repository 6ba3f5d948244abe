#include "cli/remote.h"

#include <cstdio>

#include "base/clock.h"
#include "cli/program.h"
#include "data/picture.h"
#include "text/unicode.h"

namespace revenant {

using nlohmann::json;

namespace {

ChatOptions options_of(const RemoteArgs& args, const SpeakArgs& speak) {
  ServerWords words = args.server;
  words.model = speak.model.directory.string();
  ChatOptions options =
      chat_options(words, "chat", "--body", {"model", "messages", "stream", "stream_options", "n"});
  options.limits.whole = HttpLimits::Seconds(args.timeout);
  for (const auto& [name, value] : args.sent.items()) options.body[name] = value;
  options.model = model_at(options, "chat");
  return options;
}

}  // namespace

void add_remote_options(CLI::App& command, RemoteArgs& args) {
  add_server_words(command, args.server, "--", "a server whose model is asked");
  add_timeout(command, args.timeout);
}

json sent_fields(const CLI::App& command, const SpeakArgs& args) {
  const bool server = command.count("--server") > 0;
  check_where(
      command, server, {"--api-key-env", "--api-key-file", "--body", "--timeout"},
      {"--threads", "--config-set", "--cache-type", "--cache-memory", "--weights", "--traverse",
       "--passes", "--traverse-threshold", "--ctx-size", "--beams", "--exif", "--max-pixels"});
  json fields = json::object();
  const auto add = [&](const char* option, const char* field, const json& value) {
    if (server && command.count(option) > 0) fields[field] = value;
  };
  const Sampling& s = args.sampling;
  add("--predict", "max_tokens", args.max_new_tokens);
  add("--temp", "temperature", s.temperature);
  add("--top-k", "top_k", s.top_k);
  add("--top-p", "top_p", s.top_p);
  add("--min-p", "min_p", s.min_p);
  add("--repeat-penalty", "repetition_penalty", s.repetition_penalty);
  add("--seed", "seed", s.seed);
  return fields;
}

RemoteConversation::RemoteConversation(const RemoteArgs& args, const SpeakArgs& speak)
    : speak_(speak), options_(options_of(args, speak)), server_(options_), client_(server_) {}

void RemoteConversation::show(std::span<const Path> pictures, const GoOn& go_on) {
  std::vector<std::string> uris;
  for (const Path& picture : pictures) {
    stop_unless(go_on);
    uris.push_back(data_uri_of({picture, {}}));
  }
  pictures_.insert(pictures_.end(), uris.begin(), uris.end());
}

void RemoteConversation::reset() {
  messages_.clear();
  pictures_.clear();
}

json RemoteConversation::question_json(const std::string& question) const {
  if (pictures_.empty()) return {{"role", "user"}, {"content", repaired(question)}};
  json parts = json::array();
  for (const std::string& uri : pictures_)
    parts.push_back({{"type", "image_url"}, {"image_url", {{"url", uri}}}});
  parts.push_back({{"type", "text"}, {"text", repaired(question)}});
  return {{"role", "user"}, {"content", parts}};
}

void RemoteConversation::ask(const std::string& question, const GoOn& go_on) {
  json asked = messages_;
  asked.push_back(question_json(question));
  TrimmedStream stream;
  std::string told;
  const Stopwatch watch;
  double first = -1;
  const auto on_text = [&](const ChatClient::Told& part) {
    if (first < 0) first = watch.seconds();
    if (part.thought) return;
    told += part.text;
    say(stream.push(part.text));
  };
  ChatReply reply;
  bool stopped = false;
  try {
    reply = client_.stream(asked, on_text, go_on);
  } catch (const Stopped&) {
    stopped = true;
  } catch (const NotAnswered& why) {
    if (!told.empty()) say("\n");
    throw Error("chat", options_.url.text(), "an answer", why.what());
  }
  say("\n");
  if (speak_.verbose && !stopped) tell(reply, first, watch.seconds());
  if (told.empty()) return;  // nothing was said: the pictures wait for a question
  asked.push_back({{"role", "assistant"}, {"content", told}});
  messages_ = std::move(asked);
  pictures_.clear();
}

void RemoteConversation::tell(const ChatReply& reply, double first, double whole) const {
  const auto tokens = [](int64_t count) {
    return count < 0 ? "an unknown number of tokens" : std::to_string(count) + " tokens";
  };
  std::fprintf(
      stderr, "prompt: %s (%lld cached); answer: %s; first text after %.3f s, all after %.3f s\n",
      tokens(reply.prompt_tokens).c_str(), (long long)std::max<int64_t>(0, reply.cached_tokens),
      tokens(reply.completion_tokens).c_str(), std::max(first, 0.0), whole);
}

}  // namespace revenant
