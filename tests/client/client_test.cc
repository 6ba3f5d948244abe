// Asking a server that answers, fails, stalls, cuts the line and lies.
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

#include "asking.h"
#include "base/clock.h"
#include "base/error.h"
#include "support/temporary.h"

namespace revenant {
namespace {

using nlohmann::json;

// Pauses are a hundredth of the real ones.
ChatOptions quick(const StandIn& server) {
  ChatOptions options = options_for(server);
  options.pause = Seconds(0.01);
  options.longest_pause = Seconds(0.05);
  return options;
}

TEST(Url, PartsAndRefusals) {
  const Url plain = parse_url("HTTP://example.org:8080/v1/");
  EXPECT_EQ(plain, (Url{false, "example.org", "8080", "/v1"}));
  EXPECT_EQ(plain.text(), "http://example.org:8080/v1");
  EXPECT_EQ(parse_url("https://a.b/x/y"), (Url{true, "a.b", "443", "/x/y"}));
  EXPECT_EQ(parse_url("https://a.b").text(), "https://a.b");
  EXPECT_EQ(parse_url("http://[::1]:80/v1"), (Url{false, "::1", "80", "/v1"}));
  EXPECT_EQ(parse_url("http://[::1]:81/v1").text(), "http://[::1]:81/v1");
  for (const char* good : {"http://localhost:1", "http://127.0.0.1", "https://[::1]"})
    EXPECT_TRUE(parse_url(good).loopback()) << good;
  EXPECT_FALSE(parse_url("http://128.0.0.1").loopback());
  for (const char* bad :
       {"", "a.b/v1", "ftp://a.b", "http://", "http://:80", "http://a:", "http://a:b",
        "http://a:65536", "http://a:-1", "http://[::1", "http://[::1]x", "http://a b",
        "http://a?k=1", "http://a#x", "http://a\r\nX: y"})
    EXPECT_THROW(parse_url(bad), Error) << bad;
  const std::string secret = reason_of([] { parse_url("http://me:secret@a.b"); });
  expect_part(secret, "a user or a password");
  EXPECT_EQ(secret.find("secret"), secret.npos);
}

TEST(Chat, AsksAsOpenAiHasIt) {
  StandIn server(
      [](const Asked&) { return http_reply(200, completion("a \xC3\xA4nswer", 12, 4)); });
  ChatOptions options = quick(server);
  options.key = "sesame";
  options.body = {{"temperature", 0.5}};
  ChatServer shared(options);
  ChatClient client(shared);
  for (int i = 0; i < 3; ++i) {
    const ChatReply reply = client.ask(hello);
    EXPECT_EQ(reply.text, "a änswer");
    EXPECT_TRUE(reply.whole);
    EXPECT_EQ(reply.prompt_tokens, 12);
    EXPECT_EQ(reply.completion_tokens, 4);
  }
  EXPECT_EQ(server.connections(), 1);  // kept
  EXPECT_EQ(shared.requests, 3u);
  EXPECT_EQ(shared.retries, 0u);
  const Asked asked = server.asked().at(0);
  EXPECT_TRUE(asked.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n")) << asked.head;
  EXPECT_EQ(asked.field("Authorization"), "Bearer sesame");
  EXPECT_EQ(asked.field("Content-Type"), "application/json");
  EXPECT_EQ(asked.field("Host"), server.url().substr(7, server.url().size() - 10));
  EXPECT_EQ(asked.json(), (json{{"model", "m"}, {"messages", hello}, {"temperature", 0.5}}));
}

TEST(Chat, WithoutAKeyNoneIsSent) {
  StandIn server([](const Asked&) { return http_reply(200, completion("x")); });
  ChatServer shared(quick(server));
  ChatClient(shared).ask(hello);
  EXPECT_EQ(server.asked().at(0).field("Authorization"), "");
}

// Whatever fails for a while is asked again, and comes to the same.
TEST(Chat, PassingFailuresAreAskedAgain) {
  const std::string good = completion("fine");
  const std::vector<Sent> failures = {
      http_reply(429, "{}"),
      http_reply(500, "oops"),
      http_reply(502, "<html>"),
      http_reply(503, "{\"error\": {\"message\": \"loading\"}}"),
      {"", 0, true},                                          // the line is cut at once
      {http_reply(200, good).bytes.substr(0, 60), 0, true},   // in the middle of the header
      {http_reply(200, good).bytes.substr(0, 140), 0, true},  // and of the body
      {"SSH-2.0-OpenSSH_9.2\r\n", 0, true},                   // no HTTP
      http_reply(200, "{\"choices\": [{\"mess"),              // no JSON
      http_reply(200, "{\"choices\": []}"),
      http_reply(200, "[]"),
      http_reply(200, "{\"choices\": [{\"message\": {\"content\": 3}}]}"),
      http_reply(200, "{\"choices\": [{\"message\": null}]}")};
  for (const Sent& failure : failures) {
    std::atomic<int> calls{0};
    StandIn server([&](const Asked&) { return calls++ < 2 ? failure : http_reply(200, good); });
    ChatServer shared(quick(server));
    EXPECT_EQ(ChatClient(shared).ask(hello).text, "fine") << failure.bytes;
    EXPECT_EQ(shared.retries, 2u) << failure.bytes;
    EXPECT_EQ(calls, 3) << failure.bytes;
  }
}

TEST(Chat, GivesUpAfterSoManyRetries) {
  StandIn server(
      [](const Asked&) { return http_reply(500, "{\"error\": {\"message\": \"out of order\"}}"); });
  ChatOptions options = quick(server);
  options.retries = 3;
  ChatServer shared(options);
  EXPECT_THROW(ChatClient(shared).ask(hello), NotAnswered);
  EXPECT_EQ(server.asked().size(), 4u);
  expect_part(reason_of([&] { ChatClient(shared).ask(hello); }), "status 500: \"out of order\"");
}

TEST(Chat, PausesDouble) {
  StandIn server([](const Asked&) { return http_reply(500, "{}"); });
  ChatOptions options = quick(server);
  options.retries = 4;
  options.pause = Seconds(0.04), options.longest_pause = Seconds(100);
  ChatServer shared(options);
  const Stopwatch watch;
  EXPECT_THROW(ChatClient(shared).ask(hello), NotAnswered);
  EXPECT_GE(watch.seconds(), 0.5 * (0.04 + 0.08 + 0.16 + 0.32));  // at most half of each is spared
}

// One that is of no use to this request alone, and one that ends it all.
TEST(Chat, RefusalsAreNotAskedAgain) {
  const auto told = [](int status, const std::string& body, const std::string& fields = "") {
    StandIn server([&](const Asked&) { return http_reply(status, body, fields); });
    ChatServer shared(quick(server));
    const std::string why = reason_of([&] { ChatClient(shared).ask(hello); });
    EXPECT_EQ(server.asked().size(), 1u) << status;
    return why;
  };
  const std::string body = "{\"error\": {\"message\": \"why\", \"code\": null}}";
  for (const int status : {400, 413, 422}) {
    const std::string why = told(status, body);
    EXPECT_FALSE(why.starts_with("[")) << why;
    expect_part(why, "status " + std::to_string(status) + ": \"why\"");
  }
  for (const int status : {401, 402, 403, 404})
    expect_part(told(status, body),
                "expected status 200, found " + std::to_string(status) + ": \"why\"");
  expect_part(told(301, "", "Location: http://elsewhere/\r\n"), "to http://elsewhere/");
  expect_part(
      told(429, "{\"error\": {\"message\": \"no money\", \"code\": \"insufficient_quota\"}}"),
      "[client] ");
}

TEST(Chat, RetryAfterIsHonoured) {
  std::atomic<int> calls{0};
  StandIn server([&](const Asked&) {
    return calls++ == 0 ? http_reply(429, "{}", "Retry-After: 1\r\n")
                        : http_reply(200, completion("x"));
  });
  ChatServer shared(quick(server));
  const Stopwatch watch;
  std::thread other([&] {  // whoever else asks there waits, too
    while (calls == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    ChatClient(shared, 1).ask(hello);
    EXPECT_GE(watch.seconds(), 0.95);
  });
  EXPECT_EQ(ChatClient(shared).ask(hello).text, "x");
  EXPECT_GE(watch.seconds(), 0.95);
  other.join();
}

TEST(Chat, APauseBeyondPatienceEndsIt) {
  StandIn server([](const Asked&) { return http_reply(429, "{}", "Retry-After: 7200\r\n"); });
  ChatServer shared(quick(server));
  const Stopwatch watch;
  const GoOn for_a_while = [&] { return watch.seconds() < 4; };
  expect_part(reason_of([&] { ChatClient(shared).ask(hello, for_a_while); }), "a pause of 7200 s");
}

TEST(Chat, RetryAfterIsSecondsOrADate) {
  EXPECT_EQ(retry_after_seconds("7", 0), 7.0);
  EXPECT_EQ(retry_after_seconds("Thu, 01 Jan 1970 00:01:40 GMT", 60), 40.0);
  EXPECT_EQ(retry_after_seconds("Thu, 01 Jan 1970 00:01:40 GMT", 200), 0.0);
  for (const char* none :
       {"", "-1", "soon", "1.5", "99999999999", "Thu, 01 Jan 1970 00:01:40 GMT+1"})
    EXPECT_FALSE(retry_after_seconds(none, 0)) << none;
}

// A server that says nothing, or never ends, is given up.
TEST(Chat, StallsEndAfterATime) {
  const std::string good = http_reply(200, completion("late")).bytes;
  for (const Sent& stall : {Sent{good, 12}, Sent{good.substr(0, 140)}, Sent{good.substr(0, 30)}}) {
    std::atomic<int> calls{0};
    StandIn server(
        [&](const Asked&) { return calls++ == 0 ? stall : http_reply(200, completion("fine")); });
    ChatOptions options = quick(server);
    options.limits.whole = Seconds(0.3);
    ChatServer shared(options);
    const Stopwatch watch;
    EXPECT_EQ(ChatClient(shared).ask(hello).text, "fine");
    EXPECT_GE(watch.seconds(), 0.28);
    ASSERT_LT(watch.seconds(), 8);
    EXPECT_EQ(shared.retries, 1u);
  }
}

TEST(Chat, NobodyListens) {
  ChatOptions options;
  {
    StandIn gone([](const Asked&) { return Sent{}; });
    options = quick(gone);
  }
  options.retries = 1;
  ChatServer shared(options);
  expect_part(reason_of([&] { ChatClient(shared).ask(hello); }), "Connection refused");
}

// A connection that was kept and is closed meanwhile costs no retry.
TEST(Chat, AClosedConnectionIsOpenedAgain) {
  StandIn server([](const Asked&) {
    Sent told = http_reply(200, completion("x"));  // says nothing of the close that follows
    told.close = true;
    return told;
  });
  ChatServer shared(quick(server));
  ChatClient client(shared);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.ask(hello).text, "x");
  EXPECT_EQ(shared.retries, 0u);
  EXPECT_EQ(server.connections(), 3);
}

TEST(Chat, AnswersThatDoNotEndOrAreRefusals) {
  const auto reply = [](const char* choice) {
    return parse_chat_reply(std::string("{\"choices\": [") + choice + "]}", "s");
  };
  EXPECT_TRUE(reply(R"({"message": {"content": "a"}, "finish_reason": "stop"})").whole);
  EXPECT_TRUE(reply(R"({"message": {"content": "a"}})").whole);
  EXPECT_FALSE(reply(R"({"message": {"content": "a"}, "finish_reason": "length"})").whole);
  EXPECT_FALSE(reply(R"({"message": {"content": null, "refusal": "no"}})").whole);
  EXPECT_EQ(reply(R"({"message": {"content": "a"}})").prompt_tokens, -1);
  EXPECT_EQ(parse_chat_reply(R"({"choices": [{"message": {"content": "a"}}], "usage": null})", "s")
                .completion_tokens,
            -1);
}

TEST(Chat, AnAnswerLargerThanTheLimitIsNone) {
  StandIn server([](const Asked&) { return http_reply(200, completion(std::string(5000, 'x'))); });
  ChatOptions options = quick(server);
  options.limits.body_bytes = 4096;
  options.retries = 0;
  ChatServer shared(options);
  expect_part(reason_of([&] { ChatClient(shared).ask(hello); }), "body limit");
}

TEST(Chat, TheRateIsKept) {
  StandIn server([](const Asked&) { return http_reply(200, completion("x")); });
  ChatOptions options = quick(server);
  options.per_minute = 600;  // ten a second
  ChatServer shared(options);
  const Stopwatch watch;
  std::vector<std::thread> askers;
  for (int i = 0; i < 3; ++i)
    askers.emplace_back([&] {
      ChatClient client(shared);
      for (int j = 0; j < 3; ++j) client.ask(hello);
    });
  for (std::thread& asker : askers) asker.join();
  EXPECT_GE(watch.seconds(), 0.78);  // nine, the first at once
}

TEST(Chat, StopsWhileItWaits) {
  StandIn server([](const Asked&) { return http_reply(503, "{}", "Retry-After: 8\r\n"); });
  ChatServer shared(quick(server));
  const Stopwatch watch;
  EXPECT_THROW(ChatClient(shared).ask(hello, [&] { return watch.seconds() < 0.2; }), Stopped);
  EXPECT_LT(watch.seconds(), 5);
}

// The system's certificates are those of a file here.
class Tls : public testing::Test {
 protected:
  std::string asked(const OwnCertificate& servers, const OwnCertificate& trusted,
                    const std::string& host) {
    trusted.write(place_.path / "trusted.pem");
    ::setenv("SSL_CERT_FILE", (place_.path / "trusted.pem").c_str(), 1);
    StandIn server([](const Asked&) { return http_reply(200, completion("safe")); }, &servers);
    ChatOptions options = quick(server);
    options.url = parse_url(server.url(host));
    options.retries = 0;
    options.key = "sesame";
    ChatServer shared(options);
    std::string got;
    const std::string why = reason_of([&] {
      ChatClient client(shared);
      client.ask(hello);
      got = client.ask(hello).text;
    });
    EXPECT_EQ(server.asked().size(), got.empty() ? 0u : 2u);  // nothing was said to a stranger
    ::unsetenv("SSL_CERT_FILE");
    return got.empty() ? why : got;
  }
  const Temporary place_;
};

TEST_F(Tls, WhoeverIsVouchedForIsAsked) {
  const OwnCertificate known, stranger;
  EXPECT_EQ(asked(known, known, "localhost"), "safe");
  expect_part(asked(stranger, known, "localhost"), "certificate verify failed");
  expect_part(asked(known, known, "127.0.0.1"), "certificate verify failed");  // of another name
}

}  // namespace
}  // namespace revenant
