// The server over real sockets: what it refuses, how long it waits, and who it notices leaving.
#include "serve/http.h"

#include <thread>

#include "over_http.h"
#include "serve/server.h"

namespace revenant {
namespace {

class Http : public testing::Test {
 protected:
  void start(HttpOptions http = {}, ApiOptions api = {}, Server::Load load = {}) {
    http.port = 0;
    api.model = "nano";
    if (!load) load = [] { return model(); };
    server_ = std::make_unique<Server>(std::move(api), http, load);
    running_ = std::thread([this] { server_->run(false); });
    port_ = server_->port();
  }
  void await_model() {
    while (!server_->api().scheduler()) std::this_thread::yield();
  }
  void TearDown() override { stop(); }
  void stop() {
    if (!running_.joinable()) return;
    server_->stop();
    running_.join();
  }
  static std::shared_ptr<const Model> model() {
    static const auto opened = std::make_shared<const Model>(nano, ModelOptions{.threads = 2});
    return opened;
  }
  Response ask(const std::string& request) {
    Wire wire(port_);
    wire.say(request);
    return response(wire);
  }
  static json endless(bool stream = true) {
    return with(question("tell me"),
                {{"max_tokens", 1900}, {"stream", stream}, {"logit_bias", {{"2044", -100}}}});
  }

  std::unique_ptr<Server> server_;
  std::thread running_;
  uint16_t port_ = 0;
};

TEST_F(Http, HealthWhileLoading) {
  std::atomic<bool> go = false;
  start({}, {}, [&] {
    while (!go) std::this_thread::yield();
    return model();
  });
  EXPECT_EQ(ask(get("/health")).status, 503);
  EXPECT_EQ(ask(get("/v1/models")).status, 503);
  EXPECT_EQ(ask(post(chat, question("x"))).status, 503);
  go = true;
  await_model();
  EXPECT_EQ(ask(get("/health")).status, 200);
}

TEST_F(Http, AModelThatCannotBeLoadedEndsIt) {
  HttpOptions http;
  http.port = 0;
  Server server({}, http, []() -> std::shared_ptr<const Model> { throw Error("x", "y", "z"); });
  EXPECT_THROW(server.run(false), Error);
  EXPECT_THROW(HttpServer(server.models(), HttpOptions{.host = "nowhere"}), Error);
}

TEST_F(Http, WholeAndStreamed) {
  start();
  await_model();
  json body = with(question("tell me"), {{"max_tokens", 8}});
  const Response whole = ask(post(chat, body));
  EXPECT_EQ(whole.status, 200);
  EXPECT_TRUE(whole.has("Content-Type: application/json"));
  body.update({{"stream", true}, {"stream_options", {{"include_usage", true}}}});
  const Response stream = ask(post(chat, body));
  EXPECT_TRUE(stream.has("Content-Type: text/event-stream; charset=utf-8"));
  const Streamed got = read_stream(events_of(stream.body), 1, true, true);
  const json expected = json::parse(whole.body);
  EXPECT_EQ(got.texts[0], expected["choices"][0]["message"]["content"]);
  EXPECT_EQ(got.usage["completion_tokens"], expected["usage"]["completion_tokens"]);
  // HTTP/1.0 knows no chunks: the end is the end.
  std::string old = post(chat, body);
  old.replace(old.find("HTTP/1.1"), 8, "HTTP/1.0");
  Wire wire(port_);
  wire.say(old);
  const std::string all = wire.hear_all();
  EXPECT_EQ(all.find("chunked"), all.npos);
  EXPECT_EQ(read_stream(events_of(all.substr(all.find("\r\n\r\n") + 4)), 1, true, true).texts[0],
            got.texts[0]);
}

TEST_F(Http, OneConnectionManyRequests) {
  start();
  await_model();
  Wire wire(port_);
  for (int i = 0; i < 3; ++i) {
    wire.say(post("/tokenize", {{"prompt", "hello"}}));
    EXPECT_EQ(response(wire).status, 200);
    wire.say(post(chat, with(question("x"), {{"max_tokens", 2}, {"stream", true}})));
    EXPECT_EQ(events_of(response(wire).body).back(), "[DONE]");
    wire.say(get("/nothing"));
    EXPECT_EQ(response(wire).status, 404);
  }
  wire.say(get("/health") + get("/v1/models") + post("/tokenize", {{"prompt", "a"}}) +
           get("/health", "Connection: close\r\n"));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(response(wire).status, 200);
  EXPECT_EQ(wire.hear_all(), "");
}

TEST_F(Http, BodiesInChunksAndOnDemand) {
  start();
  await_model();
  const std::string head =
      "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
  const Response got = ask(head + "9\r\n{\"prompt\"\r\n5\r\n:\"a\"}\r\n0\r\n\r\n");
  EXPECT_EQ(got.status, 200) << got.body;
  Wire wire(port_);
  wire.say(
      "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
      "14\r\n\r\n");
  EXPECT_EQ(wire.hear_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  wire.say("{\"prompt\":\"a\"}");
  EXPECT_EQ(response(wire).status, 200);
}

TEST_F(Http, LimitsAndNonsense) {
  HttpOptions http;
  http.body_bytes = 1000;
  start(http);
  await_model();
  const auto status = [&](const std::string& request) { return ask(request).status; };
  EXPECT_EQ(status("POST /tokenize HTTP/1.1\r\nContent-Length: 1001\r\n\r\n"), 413);
  const std::string chunked = "POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(status(chunked + "500\r\n" + std::string(0x500, 'x') + "\r\n0\r\n\r\n"), 413);
  EXPECT_EQ(status(get("/" + std::string(9000, 'x'))), 414);
  EXPECT_EQ(status(get("/health", "X: " + std::string(17000, 'x') + "\r\n")), 431);
  std::string many;
  for (int i = 0; i < 101; ++i) many += "X-" + std::to_string(i) + ": 1\r\n";
  EXPECT_EQ(status(get("/health", many)), 431);
  for (const char* nonsense :
       {"nonsense\r\n\r\n", "GET\r\n\r\n", "GET /health HTTP/9.9\r\n\r\n",
        "GET /health HTTP/1.1\r\nA B: c\r\n\r\n", "\x16\x03\x01\x02\x01 TLS\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"})
    EXPECT_EQ(status(nonsense), 400) << nonsense;
  EXPECT_EQ(status(chunked + "-1\r\nx\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status(chunked + "fffffffffffffffff\r\nx\r\n"), 400);
  EXPECT_EQ(status(post("/tokenize", {{"prompt", "a"}})), 200);
}

TEST_F(Http, SlowClientsAreLetGo) {
  HttpOptions http;
  http.header_time = http.body_pause = http.write_time = HttpOptions::Seconds(0.2);
  http.body_time = HttpOptions::Seconds(0.5);
  http.keep_alive = HttpOptions::Seconds(0.3);
  start(http);
  await_model();
  EXPECT_EQ(ask("GET /health HTTP/1.1\r\nHost").status, 408);
  EXPECT_EQ(ask("POST /tokenize HTTP/1.1\r\nContent-Length: 9\r\n\r\n{").status, 408);
  Wire dripping(port_), silent(port_);
  dripping.say("POST /tokenize HTTP/1.1\r\nContent-Length: 900\r\n\r\n");
  std::thread drip([&] {
    for (int i = 0; i < 20; ++i) {
      dripping.say("x");
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  });
  const auto begin = Clock::now();
  EXPECT_EQ(response(dripping).status, 408);
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(2));
  drip.join();
  EXPECT_EQ(silent.hear_all(), "");
  Wire kept(port_);
  kept.say(get("/health"));
  EXPECT_EQ(response(kept).status, 200);
  EXPECT_EQ(kept.hear_all(), "");
  EXPECT_TRUE(soon([&] {
    dripping.leave();
    return server_->http().connections() == 0;
  }));
}

TEST_F(Http, WhoLeavesIsNoticed) {
  start({}, ApiOptions{.schedule = {.parallel = 2}});
  await_model();
  const Scheduler& scheduler = *server_->api().scheduler();
  for (const bool stream : {true, false}) {
    std::vector<std::unique_ptr<Wire>> wires;
    for (int i = 0; i < 5; ++i) {
      wires.push_back(std::make_unique<Wire>(port_));
      wires.back()->say(post(chat, endless(stream)));
    }
    EXPECT_TRUE(soon([&] { return scheduler.running() == 2 && scheduler.waiting() == 3; }));
    for (auto& wire : wires) wire->leave();
    EXPECT_TRUE(soon([&] { return scheduler.running() == 0 && scheduler.waiting() == 0; }, 2));
  }
  EXPECT_TRUE(soon([&] { return server_->http().connections() == 0; }));
}

TEST_F(Http, ThePageAndWhoHasItAlready) {
  ApiOptions api;
  api.keys.add("sesame");
  start({}, api);
  const Response page = ask(get("/"));
  EXPECT_EQ(page.status, 200);
  EXPECT_TRUE(page.has("Cache-Control: no-cache"));
  EXPECT_TRUE(page.has("Content-Type: text/html; charset=utf-8"));
  EXPECT_TRUE(page.has("X-Content-Type-Options: nosniff"));
  EXPECT_NE(page.head.find("\r\nContent-Security-Policy: default-src 'none';"), page.head.npos);
  const size_t at = page.head.find("ETag: ") + 6;
  const std::string tag = page.head.substr(at, page.head.find("\r\n", at) - at);
  Wire wire(port_);
  wire.say(get("/", "If-None-Match: " + tag + "\r\n") + get("/app.js"));
  const Response known = response(wire);
  EXPECT_EQ(known.status, 304);
  EXPECT_EQ(known.head.find("Content-Length"), known.head.npos);
  EXPECT_TRUE(known.has("ETag: " + tag));
  EXPECT_EQ(response(wire).status, 200);  // nothing of the body followed
  EXPECT_TRUE(ask(get("/health")).has("Cache-Control: no-store"));
}

TEST_F(Http, NothingWithoutAKey) {
  ApiOptions api;
  api.keys.add("sesame");
  HttpOptions http;
  http.body_pause = HttpOptions::Seconds(0.2);
  start(http, api);
  await_model();
  for (const Api::Route& route : Api::routes()) {
    const std::string line = std::string(route.method) + " " + route.path + " HTTP/1.1\r\n";
    // Before the body is read: it never comes.
    const Response got = ask(line + "Content-Length: 100\r\n\r\n");
    EXPECT_EQ(got.status, route.open ? 408 : 401) << line;
    if (route.open) continue;
    const Response opened =
        ask(line + "Authorization: Bearer sesame\r\nContent-Length: 2\r\n\r\n{}");
    EXPECT_NE(opened.status, 401) << line;
    EXPECT_NE(opened.status, 0) << line;
  }
}

TEST_F(Http, DrainsAndThenEnds) {
  start();
  await_model();
  Wire streaming(port_), idle(port_);
  idle.say(get("/health"));
  EXPECT_EQ(response(idle).status, 200);
  streaming.say(post(chat, with(endless(), {{"max_tokens", 300}})));
  streaming.hear_until("data: ");
  server_->stop();
  EXPECT_EQ(idle.hear_all(), "");
  const std::string rest = streaming.hear_all();
  EXPECT_NE(rest.find("data: [DONE]"), rest.npos);
  running_.join();
  EXPECT_FALSE(Wire(port_).connected());
}

TEST_F(Http, CutsWhatTakesTooLong) {
  HttpOptions http;
  http.drain = HttpOptions::Seconds(0.1);
  start(http);
  await_model();
  Wire streaming(port_);
  streaming.say(post(chat, endless()));
  streaming.hear_until("data: ");
  stop();
  const std::string rest = streaming.hear_all();
  EXPECT_NE(rest.find("shutting_down"), rest.npos);
  EXPECT_EQ(rest.find("[DONE]"), rest.npos);
}

TEST_F(Http, CommentsKeepAWaitingStreamAlive) {
  HttpOptions http;
  http.ping = HttpOptions::Seconds(0.05);
  start(http, ApiOptions{.schedule = {.parallel = 1}});
  await_model();
  Wire first(port_), second(port_);
  first.say(post(chat, endless()));
  first.hear_until("data: ");
  second.say(post(chat, endless()));
  EXPECT_NE(second.hear_until(": ping\n\n").find(": ping"), std::string::npos);
}

TEST_F(Http, PagesElsewhere) {
  ApiOptions api;
  api.origins = {"https://page.example"};
  start({}, api);
  await_model();
  const Response preflight =
      ask("OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: https://page.example\r\n"
          "Access-Control-Request-Method: POST\r\n\r\n");
  EXPECT_EQ(preflight.status, 204);
  EXPECT_TRUE(preflight.has("Access-Control-Allow-Origin: https://page.example"));
  EXPECT_TRUE(ask(get("/v1/models", "Origin: https://page.example\r\n"))
                  .has("Access-Control-Allow-Origin: https://page.example"));
  const Response other = ask(get("/v1/models", "Origin: https://evil.example\r\n"));
  EXPECT_EQ(other.status, 403);
  EXPECT_EQ(other.head.find("Allow-Origin"), other.head.npos);
}

}  // namespace
}  // namespace revenant
