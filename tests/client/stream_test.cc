// Streamed answers, read strictly; and many at once, measured.
#include <gtest/gtest.h>

#include "asking.h"
#include "base/clock.h"
#include "base/error.h"
#include "client/load.h"

namespace revenant {
namespace {

using nlohmann::json;

std::vector<std::string> events_of(const std::string& text, size_t piece) {
  EventReader reader(100);
  std::vector<std::string> events;
  for (size_t at = 0; at < text.size(); at += piece)
    reader.push(std::string_view(text).substr(at, piece),
                [&](const std::string& data) { events.push_back(data); });
  EXPECT_TRUE(reader.between());
  return events;
}

TEST(Events, InPiecesOfAnySize) {
  const std::string text =
      ": hi\n\ndata: a\r\n\r\nevent: x\nid: 3\nretry: 5\ndata:  b\ndata:c\n\n\n\ndata\n\n: "
      "ping\n\n";
  for (size_t piece = 1; piece <= text.size(); ++piece)
    EXPECT_EQ(events_of(text, piece), (std::vector<std::string>{"a", " b\nc", ""})) << piece;
}

TEST(Events, WhatIsNoneIsRefused) {
  const auto why = [](const std::string& text) { return reason_of([&] { events_of(text, 7); }); };
  expect_part(why("{\"error\": 1}\n"), "a field of an event");
  expect_part(why("<html>\n\n"), "a field of an event");
  expect_part(why("data: a\rdata: b\n\n"), "a CR alone");
  expect_part(why("data: " + std::string(200, 'x')), "at most 100 bytes");
  std::string lines;
  for (int i = 0; i < 20; ++i) lines += "data: 12345\n";
  expect_part(why(lines), "at most 100 bytes");
  EventReader reader;
  reader.push("data: a\n", [](const std::string&) { FAIL(); });
  EXPECT_FALSE(reader.between());
}

std::string chunk(const json& delta, const json& finish = nullptr) {
  return "data: " +
         json{{"choices", {{{"index", 0}, {"delta", delta}, {"finish_reason", finish}}}}}.dump() +
         "\n\n";
}
const std::string begin = chunk({{"role", "assistant"}, {"content", ""}}),
                  end = chunk(json::object(), "stop"),
                  usage =
                      "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 9, "
                      "\"completion_tokens\": 2, \"prompt_tokens_details\": {\"cached_tokens\": "
                      "4}}}\n\n",
                  done = "data: [DONE]\n\n";

std::string say(const std::string& text) { return chunk({{"content", text}}); }

// With a length, or in chunks of HTTP of so many bytes.
Sent stream_reply(const std::string& body, size_t chunk = 0) {
  if (chunk == 0) return http_reply(200, body);
  std::string out = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (size_t at = 0; at < body.size(); at += chunk) {
    const std::string part = body.substr(at, chunk);
    char size[24];
    std::snprintf(size, sizeof size, "%zx\r\n", part.size());
    out += size + part + "\r\n";
  }
  return {out + "0\r\n\r\n"};
}

ChatReply streamed(const Sent& told, std::string* heard = nullptr) {
  StandIn server([&](const Asked&) { return told; });
  ChatServer shared(options_for(server));
  const ChatReply reply = ChatClient(shared).stream(hello, [&](const ChatClient::Told& part) {
    if (heard) *heard += (part.thought ? "(" : "[") + std::string(part.text) + "]";
  });
  EXPECT_EQ(server.asked().size(), 1u);
  return reply;
}

TEST(Stream, WhatIsTold) {
  const std::string body = ": ping\n\n" + begin + say("a") + ": ping\n\n" + say("\xC3\xA4") +
                           chunk({{"content", nullptr}}) + end + usage + done;
  for (const size_t piece : {size_t(0), size_t(1), size_t(50), size_t(100'000)}) {
    std::string heard;
    const ChatReply reply = streamed(stream_reply(body, piece), &heard);
    EXPECT_EQ(heard, "[a][\xC3\xA4]");
    EXPECT_EQ(reply.text, "a\xC3\xA4");
    EXPECT_TRUE(reply.whole);
    EXPECT_EQ(reply.prompt_tokens, 9);
    EXPECT_EQ(reply.completion_tokens, 2);
    EXPECT_EQ(reply.cached_tokens, 4);
  }
  const ChatReply cut = streamed(stream_reply(say("a") + chunk(json::object(), "length") + done));
  EXPECT_FALSE(cut.whole);
  EXPECT_EQ(cut.completion_tokens, -1);
  std::string heard;
  EXPECT_EQ(
      streamed(stream_reply(chunk({{"reasoning_content", "h"}}) + say("a") + end + done), &heard)
          .text,
      "a");
  EXPECT_EQ(heard, "(h][a]");
}

TEST(Stream, AsksForOneWithItsUsage) {
  StandIn server([](const Asked&) { return stream_reply(say("a") + end + done, 9); });
  ChatOptions options = options_for(server);
  options.key = "sesame";
  options.body = {{"max_tokens", 5}};
  ChatServer shared(options);
  ChatClient client(shared);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(client.stream(hello, {}).text, "a");
  EXPECT_EQ(server.connections(), 1);  // kept
  const Asked asked = server.asked().at(0);
  EXPECT_EQ(asked.field("Authorization"), "Bearer sesame");
  EXPECT_EQ(asked.json(), (json{{"model", "m"},
                                {"messages", hello},
                                {"max_tokens", 5},
                                {"stream", true},
                                {"stream_options", {{"include_usage", true}}}}));
}

// Half an answer is none.
TEST(Stream, WhatIsNoWholeStreamIsRefused) {
  const auto why = [](const Sent& told) { return reason_of([&] { streamed(told); }); };
  const auto of = [&](const std::string& body) { return why(stream_reply(body, 13)); };
  expect_part(of(say("a") + end), "one that was cut");
  expect_part(of(say("a") + end + "data: [DONE]\n"), "one that was cut");
  expect_part(of(say("a") + done), "expected a finish_reason");
  expect_part(of(say("a") + end + done + say("b")), "found one after it");
  expect_part(of(end + say("b") + done), "no text after the last");
  expect_part(of("data: {\"choices\": [{\"index\": 1, \"delta\": {}}]}\n\n"), "found more");
  expect_part(of("data: {\"choices\": 3}\n\n"), "chunks of a chat completion");
  expect_part(of("data: 3\n\n"), "chunks of a chat completion");
  expect_part(of("data: {\"choices\": [{\"delta\": {\"content\": 3}}]}\n\n"), "chunks of a chat");
  expect_part(of("data: {\"cho\n\n"), "[client]");
  expect_part(of("data: \"\xFF\"\n\n"), "[client]");
  expect_part(of("{\"choices\": []}\n"), "a field of an event");
  expect_part(of(say("a") + "data: {\"error\": {\"message\": \"no memory\"}}\n\n"),
              "after the answer had begun: \"no memory\"");
  std::string half = stream_reply(say("a") + end + done, 30).bytes;
  expect_part(why({half.substr(0, half.size() - 40), 0, true}), "");
  EXPECT_NE(why({half.substr(0, half.size() - 40), 0, true}), "none");
  expect_part(why(http_reply(400, "{\"error\": {\"message\": \"bad\"}}")), "status 400: \"bad\"");
  expect_part(why(http_reply(401, "{\"error\": {\"message\": \"who\"}}")), "401: \"who\"");
}

// A long answer may take long; a silence may not.
TEST(Stream, SilenceEndsAfterATime) {
  const std::string whole = stream_reply(say("a") + end + done, 10).bytes;
  StandIn server([&](const Asked&) { return Sent{whole.substr(0, 120)}; });
  ChatOptions options = options_for(server);
  options.limits.whole = Seconds(0.3);
  ChatServer shared(options);
  const Stopwatch watch;
  expect_part(reason_of([&] { ChatClient(shared).stream(hello, {}); }), "it took too long");
  EXPECT_GE(watch.seconds(), 0.28);
  EXPECT_LT(watch.seconds(), 5);
}

TEST(Stream, StopsAtOnce) {
  StandIn server([&](const Asked&) {
    return Sent{stream_reply(say("a") + end + done, 10).bytes.substr(0, 200)};
  });
  ChatServer shared(options_for(server));
  const Stopwatch watch;
  EXPECT_THROW(ChatClient(shared).stream(hello, {}, [&] { return watch.seconds() < 0.2; }),
               Stopped);
  EXPECT_LT(watch.seconds(), 3);
}

TEST(Stream, ModelsOfAServer) {
  StandIn server([](const Asked& asked) {
    EXPECT_TRUE(asked.head.starts_with("GET /v1/models HTTP/1.1\r\n")) << asked.head;
    return http_reply(200, R"({"data": [{"id": "a"}, {"id": "b"}]})");
  });
  ChatServer shared(options_for(server));
  EXPECT_EQ(ChatClient(shared).models(), (std::vector<std::string>{"a", "b"}));
  for (const char* wrong : {"[]", "{}", "{\"data\": [{}]}", "{\"data\": [{\"id\": 1}]}", "x"})
    EXPECT_THROW(parse_models(wrong, "s"), NoChat) << wrong;
}

TEST(Load, CountsAndTimes) {
  std::atomic<int> at_once{0}, most{0};
  StandIn server([&](const Asked&) {
    const int now = ++at_once;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) continue;
    std::this_thread::sleep_for(std::chrono::milliseconds(40));
    --at_once;
    return stream_reply(begin + say("a") + say("b") + say("c") + end + usage + done);
  });
  LoadOptions options{.server = options_for(server), .clients = 3, .requests = 2, .messages = {}};
  std::mutex mutex;
  std::set<size_t> numbers;
  options.messages = [&](size_t number) {
    const std::lock_guard lock(mutex);
    numbers.insert(number);
    return hello;
  };
  size_t told = 0;
  options.progress = [&](size_t now) { told = now; };
  const LoadReport report = run_load(options);
  EXPECT_EQ(most, 3);
  EXPECT_EQ(numbers, (std::set<size_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(report.answered, 6u);
  EXPECT_EQ(report.failed, 0u);
  EXPECT_EQ(told, 6u);
  EXPECT_EQ(report.prompt_tokens, 54);
  EXPECT_EQ(report.cached_tokens, 24);
  EXPECT_EQ(report.tokens, 12);  // as the server says; not the 18 parts
  EXPECT_EQ(report.first_token.size(), 6u);
  EXPECT_EQ(report.between.size(), 12u);
  EXPECT_EQ(report.whole.size(), 6u);
  for (const double first : report.first_token) EXPECT_GE(first, 0.04);
  EXPECT_GE(report.seconds, 0.08);
}

TEST(Load, WithoutACountPartsAreCounted) {
  StandIn server([&](const Asked&) { return stream_reply(say("a") + say("b") + end + done); });
  const LoadReport report =
      run_load({.server = options_for(server), .messages = [](size_t) { return hello; }});
  EXPECT_EQ(report.tokens, 10);
}

TEST(Load, WhoIsRefusedIsCounted) {
  std::atomic<int> calls{0};
  StandIn server([&](const Asked&) {
    return calls++ % 2 ? stream_reply(say("a") + end + done)
                       : http_reply(503, "{\"error\": {\"message\": \"full\"}}");
  });
  const LoadReport report = run_load(
      {.server = options_for(server), .requests = 4, .messages = [](size_t) { return hello; }});
  EXPECT_EQ(report.answered, 2u);
  EXPECT_EQ(report.failed, 2u);
  expect_part(report.failure, "status 503: \"full\"");
  EXPECT_EQ(calls, 4);  // none again
}

TEST(Load, AWrongKeyEndsIt) {
  StandIn server([&](const Asked&) { return http_reply(401, "{}"); });
  EXPECT_THROW(run_load({.server = options_for(server),
                         .clients = 4,
                         .requests = 50,
                         .messages = [](size_t) { return hello; }}),
               Error);
  EXPECT_LE(server.asked().size(), 8u);
}

TEST(Load, StopsAtOnce) {
  StandIn server([&](const Asked&) { return Sent{"", 8}; });
  const Stopwatch watch;
  EXPECT_THROW(run_load({.server = options_for(server),
                         .clients = 2,
                         .messages = [](size_t) { return hello; },
                         .go_on = [&] { return watch.seconds() < 0.2; }}),
               Stopped);
  EXPECT_LT(watch.seconds(), 4);
}

TEST(Load, Percentiles) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  EXPECT_EQ(percentile(values, 0.5), 50);
  EXPECT_EQ(percentile(values, 0.95), 95);
  EXPECT_EQ(percentile(values, 0.99), 99);
  EXPECT_EQ(percentile({3, 1, 2}, 0.5), 2);
  EXPECT_EQ(percentile({3, 1, 2}, 0.99), 3);
  EXPECT_EQ(percentile({}, 0.5), 0);
}

}  // namespace
}  // namespace revenant
