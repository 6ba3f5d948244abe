// Clients that mean no good, on every route; and the end of the program by a signal.
#include <algorithm>
#include <cmath>
#include <csignal>

#include "base/sha256.h"
#include "cli/program.h"
#include "matrix.h"
#include "serve/keys.h"
#include "serve/page.h"

namespace revenant {
namespace {

using Seconds = std::chrono::duration<double>;

void sleep_for(double seconds) { std::this_thread::sleep_for(Seconds(seconds)); }

// Says `text` byte by byte until somebody answers or it is over; the status.
int drip(const Serving& serving, const std::string& begin, const std::string& text) {
  Wire wire(serving.port());
  wire.say(begin);
  for (const char c : text) {
    wire.say(std::string(1, c));
    sleep_for(0.02);
  }
  return response(wire).status;
}

int status_of(const Serving& serving, const std::string& request) {
  return serving.ask(request).status;
}

const std::string in_chunks = "POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
const std::string tokens = post("/tokenize", {{"prompt", "a"}});

// Requests without waiting for answers, the last of them nonsense: each is answered, in turn.
void pipeline(const Serving& serving, size_t requests) {
  Wire wire(serving.port());
  std::string all;
  for (size_t i = 0; i < requests; ++i) all += tokens;
  wire.say(all + "nonsense\r\n\r\n" + tokens);
  for (size_t i = 0; i < requests; ++i) EXPECT_EQ(response(wire).status, 200) << i;
  EXPECT_EQ(response(wire).status, 400);
  EXPECT_EQ(wire.hear_all(), "");
}

// Asks for far more than sockets hold and reads none of it: it is let go.
void read_nothing(const Serving& serving) {
  Wire wire(serving.port());
  std::string pages;
  for (int i = 0; i < 200; ++i) pages += get("/app.js");
  wire.say(pages);
  sleep_for(1.5);
}

void attack(const Serving& serving, int kind) {
  const std::string many(2'000, 'x');
  std::string fields;
  for (int i = 0; i < 101; ++i) fields += "X-" + std::to_string(i) + ": 1\r\n";
  switch (kind % 12) {
    case 0:
      EXPECT_EQ(drip(serving, "GET /health HTTP/1.1\r\nX: ", many.substr(0, 60)), 408);
      return;
    case 1:
      EXPECT_EQ(drip(serving, "POST /tokenize HTTP/1.1\r\nContent-Length: 900\r\n\r\n",
                     many.substr(0, 70)),
                408);
      return;
    case 2:
      EXPECT_EQ(drip(serving, in_chunks + "3e8\r\n", many.substr(0, 70)), 408);
      return;
    case 3: {  // half open
      Wire silent(serving.port());
      EXPECT_EQ(silent.hear_all(), "");
      return;
    }
    case 4:
      EXPECT_EQ(status_of(serving, "POST /tokenize HTTP/1.1\r\nContent-Length: 1001\r\n\r\n"), 413);
      return;
    case 5:
      EXPECT_EQ(status_of(serving, in_chunks + "7d0\r\n" + many + "\r\n0\r\n\r\n"), 413);
      return;
    case 6:
      EXPECT_EQ(status_of(serving, get("/health", "X: " + std::string(17'000, 'x') + "\r\n")), 431);
      EXPECT_EQ(status_of(serving, get("/health", fields)), 431);
      return;
    case 7:
      EXPECT_EQ(status_of(serving, get("/" + std::string(9'000, 'x'))), 414);
      return;
    case 8:
      for (const char* trick :
           {"-1\r\nx\r\n0\r\n\r\n", "fffffffffffffffff\r\nx\r\n", "0x1\r\nx\r\n0\r\n\r\n",
            "\r\n\r\n", "1\r\nxx\r\n0\r\n\r\n", " 1\r\nx\r\n0\r\n\r\n", "g\r\n\r\n"})
        EXPECT_EQ(status_of(serving, in_chunks + trick), 400) << trick;
      return;
    case 9:
      for (const char* lengths :
           {"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "Content-Length: +1\r\n\r\n",
            "Content-Length: 0x1\r\n\r\n", "Content-Length : 1\r\n\r\n",
            "Content-Length: 99999999999999999999\r\n\r\n"})
        EXPECT_EQ(status_of(serving, std::string("POST /tokenize HTTP/1.1\r\n") + lengths), 400)
            << lengths;
      return;
    case 10:
      return pipeline(serving, 30);
    case 11:
      return read_nothing(serving);
  }
}

double percentile_99(std::vector<double> seconds) {
  std::ranges::sort(seconds);
  return seconds[size_t(std::ceil(0.99 * double(seconds.size()))) - 1];
}

// How long a short answer takes, as long as `more` says so and a hundred times at least.
template <class F>
std::vector<double> latencies(const Serving& serving, const F& more) {
  const std::string request = post(chat, with(question("x"), {{"max_tokens", 2}}));
  const std::string expected = said(serving.ask(request));
  std::vector<double> all;
  while (all.size() < 100 || more()) {
    const auto begin = Clock::now();
    EXPECT_EQ(said(serving.ask(request)), expected);
    all.push_back(Seconds(Clock::now() - begin).count());
  }
  return all;
}

TEST(MatrixHostile, SlowHalfOpenOversizedTrickyAndPipelined) {
  const int connections = figure(200, 1000), together = 200;
  HttpOptions http;
  http.body_bytes = 1000;
  http.header_time = http.body_pause = http.keep_alive = HttpOptions::Seconds(1);
  http.body_time = HttpOptions::Seconds(1.2);
  http.write_time = HttpOptions::Seconds(0.4);
  Serving serving(shipped_model(), http);
  const double idle = percentile_99(latencies(serving, [] { return false; }));
  std::atomic<int> next = 0, over = 0;
  std::vector<std::thread> attackers;
  for (int t = 0; t < together; ++t)
    attackers.emplace_back([&] {
      for (int i = next++; i < connections; i = next++) attack(serving, i);
      ++over;
    });
  const std::vector<double> meanwhile = latencies(serving, [&] { return over < together; });
  for (std::thread& attacker : attackers) attacker.join();
  const double attacked = percentile_99(meanwhile);
  EXPECT_TRUE(soon([&] { return serving.at_rest(); }, 5));
  std::printf("%d connections; p99 of a good client %.1f ms, before %.1f ms (%zu requests)\n",
              connections, 1e3 * attacked, 1e3 * idle, meanwhile.size());
  EXPECT_LT(attacked, 2 * idle + 0.1);  // 200 threads of this program share its cores, too
}

// Every route of the router, as a request of it would begin.
std::string line_of(const Api::Route& route, const std::string& more_path = "") {
  std::string path = route.path;
  if (path.ends_with('*')) path.back() = 'x';
  return std::string(route.method) + " " + path + more_path + " HTTP/1.1\r\nHost: localhost\r\n";
}

bool injected(const Response& got) {
  return got.head.find("\nInjected") != got.head.npos ||
         got.head.find("\rInjected") != got.head.npos;
}

class EveryRoute : public testing::Test {
 protected:
  EveryRoute() {
    ApiOptions api;
    api.keys.add("sesame");
    api.origins = {"https://page.example"};
    serving_.emplace(shipped_model(), HttpOptions{}, api);
  }
  Response ask(const std::string& head, const std::string& fields) const {
    return serving_->ask(head + fields + "Content-Length: 2\r\n\r\n{}");
  }
  std::optional<Serving> serving_;
  const std::string key_ = "Authorization: Bearer sesame\r\n";
};

TEST_F(EveryRoute, AsksForAKey) {
  int open = 0;
  for (const Api::Route& route : Api::routes()) {
    const std::string head = line_of(route);
    open += route.open;
    for (const char* wrong :
         {"", "Authorization: Bearer\r\n", "Authorization: Bearer sesam\r\n",
          "Authorization: Bearer sesame2\r\n", "Authorization: Basic sesame\r\n",
          "Cookie: key=sesame\r\n", "Proxy-Authorization: Bearer sesame\r\n"}) {
      const int status = ask(head, wrong).status;
      EXPECT_TRUE(route.open ? status == 200 : status == 401) << head << wrong << status;
    }
    EXPECT_EQ(ask(line_of(route, "?key=sesame&api_key=sesame"), "").status, route.open ? 200 : 401);
    EXPECT_NE(ask(head, key_).status, 401) << head;
  }
  EXPECT_EQ(open, 1 + int(page_files().size()));
}

TEST_F(EveryRoute, KnowsItsOrigins) {
  const std::string allow = "\r\nAccess-Control-Allow-Origin:";
  for (const Api::Route& route : Api::routes()) {
    const std::string head = line_of(route);
    for (const char* foreign : {"http://page.example", "https://page.example.evil",
                                "https://page.example:444", "https://evil/https://page.example",
                                "null", "https://PAGE.example/", "http://localhost.x"}) {
      const Response got = ask(head, key_ + "Origin: " + foreign + "\r\n");
      EXPECT_EQ(got.status, 403) << head << foreign;
      EXPECT_EQ(got.head.find(allow), got.head.npos) << head << foreign;
    }
    const Response got = ask(head, key_ + "Origin: https://page.example\r\n");
    EXPECT_TRUE(got.has("Access-Control-Allow-Origin: https://page.example")) << head;
    EXPECT_TRUE(got.has("Vary: Origin")) << head;
    EXPECT_EQ(got.head.find(allow), got.head.rfind(allow)) << head;
    EXPECT_EQ(got.head.find("Allow-Credentials"), got.head.npos) << head;
    std::string asks = head;
    asks.replace(0, asks.find(' '), "OPTIONS");
    EXPECT_EQ(ask(asks, "Origin: https://page.example\r\n").status, 204) << head;
    EXPECT_EQ(ask(asks, "Origin: https://evil.example\r\n").status, 403) << head;
  }
}

TEST_F(EveryRoute, PutsNothingOfARequestIntoItsHead) {
  for (const Api::Route& route : Api::routes()) {
    const std::string head = line_of(route);
    const auto expect_none = [&](const Response& got) {
      EXPECT_NE(got.status, 0) << head;
      EXPECT_FALSE(injected(got)) << got.head;
    };
    for (const char* field : {"Origin", "Host", "X-Api-Key", "Authorization", "If-None-Match",
                              "Access-Control-Request-Headers", "Accept"})
      for (const char* value :
           {"https://page.example\rInjected: 1", "https://page.example\nInjected: 1",
            "https://page.example%0d%0aInjected: 1", "https://page.example\r\n Injected: 1",
            "\"\\r\\nInjected: 1", "https://page.example\xE5\x98\x8A\xE5\x98\x8DInjected: 1",
            "https://page.example\vInjected: 1"})
        expect_none(ask(head, key_ + field + ": " + value + "\r\n"));
    for (const char* path : {"%0d%0aInjected:%201", "?x=%0d%0aInjected:%201",
                             "\rInjected:", "\tInjected:", "/%00%0aInjected:", "\\r\\nInjected:"})
      expect_none(ask(line_of(route, path), key_));
  }
  // What a body says comes back in bodies alone.
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/embeddings"}) {
    const json body =
        with(question("x"),
             {{"model", "x\r\nInjected: 1"}, {"user", "\r\nInjected: 1"}, {"\r\nInjected", 1}});
    const Response got = serving_->ask(post(path, body, key_));
    EXPECT_EQ(got.status / 100, 4) << path;
    EXPECT_FALSE(injected(got)) << got.head;
  }
}

// Whether work takes the same time with either of two texts of 64 bytes, which lie in one place:
// Welch's t of its times, without the slowest tenth, in which the machine does other things
// (Reparaz, Balasch, Verbauwhede 2017).
template <class F>
double t_of_times(int samples, Random& random, const std::string (&texts)[2], const F& work) {
  alignas(64) char given[64];
  std::vector<std::pair<double, int>> times;
  times.reserve(size_t(samples));
  for (int i = 0; i < samples; ++i) {
    const int kind = int(random.below(2));
    texts[kind].copy(given, sizeof given);
    const auto begin = Clock::now();
    work(std::string_view(given, sizeof given));
    times.emplace_back(Seconds(Clock::now() - begin).count() * 1e9, kind);
  }
  std::vector<double> sorted;
  for (const auto& [time, kind] : times) sorted.push_back(time);
  const auto cut = sorted.begin() + std::ptrdiff_t(sorted.size() * 9 / 10);
  std::ranges::nth_element(sorted, cut);
  double n[2] = {}, mean[2] = {}, squares[2] = {};
  for (const auto& [time, kind] : times) {
    if (time > *cut) continue;
    const double from_mean = time - mean[kind];
    mean[kind] += from_mean / ++n[kind];
    squares[kind] += from_mean * (time - mean[kind]);
  }
  const double error = squares[0] / n[0] / (n[0] - 1) + squares[1] / n[1] / (n[1] - 1);
  return error > 0 ? std::abs(mean[0] - mean[1]) / std::sqrt(error) : 0;
}

// The least of some tries: a difference that is there shows in each.
template <class F>
double least_t(Random& random, const std::string (&texts)[2], const F& work) {
  double least = 1e9;
  for (int tries = 0; tries < 4 && least >= 4.5; ++tries)
    least = std::min(least, t_of_times(1'000'000, random, texts, work));
  return least;
}

TEST(MatrixHostile, AKeyTakesAsLongWhateverItShares) {
  Random random(matrix_seed());
  const std::string right = sha256_of("sesame");
  std::string differs_first = right, differs_last = right;
  differs_first.front() ^= 1, differs_last.back() ^= 1;
  const std::string digests[] = {differs_first, differs_last};
  volatile int found = 0;
  const double of_bytes = least_t(random, digests, [&](std::string_view given) {
    for (int i = 0; i < 4; ++i) found = found + same_bytes(right, given);
  });
  Keys keys;
  keys.add(std::string(64, 'k'));
  const std::string wrong[] = {"x" + std::string(63, 'k'), std::string(63, 'k') + "x"};
  const double of_keys = least_t(
      random, wrong, [&](std::string_view given) { found = found + keys.who(given).has_value(); });
  EXPECT_EQ(found, 0);
  std::printf("t %.2f of digests, %.2f of keys\n", of_bytes, of_keys);
  EXPECT_LT(of_bytes, 4.5);
  EXPECT_LT(of_keys, 4.5);
}

// The program, ended by SIGTERM at any moment: its answers are whole, or end with an error that
// says why; its exit code is 0, or 143 after a second signal.
class Ended : public testing::Test {
 protected:
  // Its port, once it listens.
  uint16_t start(const std::string& drain) {
    std::filesystem::remove(place_.path / "stderr");  // of the time before
    child_ = start_program(place_.path, {"serve", "-m", nano.string(), "--port", "0", "--drain",
                                         drain, "-t", "2", "--parallel", "3"});
    const std::string mark = "listening on http://127.0.0.1:";
    std::string told;
    EXPECT_TRUE(soon(
        [&] {
          if (std::filesystem::exists(place_.path / "stderr"))
            told = read_file(place_.path / "stderr");
          return told.find(mark) != told.npos && told.ends_with('\n');
        },
        60));
    return uint16_t(std::stoi(told.substr(told.find(mark) + mark.size())));
  }
  // How the answer to one request ends: "" where nothing at all came, else its status, `cut` where
  // it breaks off.
  static std::string ending(uint16_t port, const json& body) {
    Wire wire(port);
    if (!wire.connected()) return "";
    wire.say(post(chat, body, "Connection: close\r\n"));
    const std::string all = wire.hear_all();
    if (all.empty()) return "";
    const size_t end = all.find("\r\n\r\n");
    if (end == all.npos) return "cut";
    if (all.find("chunked") < end) {
      if (!all.ends_with("0\r\n\r\n")) return "cut";
      if (all.find("data: [DONE]") != all.npos) return "200";
      return all.find("shutting_down") != all.npos ? "503" : "cut";
    }
    const size_t length = all.find("Content-Length: ");
    if (length > end || all.size() != end + 4 + std::stoul(all.substr(length + 16))) return "cut";
    return all.substr(9, 3);
  }

  const Temporary place_;
  pid_t child_ = -1;
};

TEST_F(Ended, BySigtermAtAnyMoment) {
  const int times = figure(10, 100);
  Random random(matrix_seed());
  std::map<std::string, int> endings;
  double slowest = 0;
  for (int time = 0; time < times && !HasFailure(); ++time) {
    const double drain = time % 2 ? 0.3 : 5;
    const bool twice = time % 5 == 4;
    const uint16_t port = start(std::to_string(drain));
    std::vector<std::string> heard(6);
    std::vector<std::thread> clients;
    for (size_t i = 0; i < heard.size(); ++i) {
      json body =
          with(question("tell me"), {{"stream", i % 2 == 0},
                                     {"max_tokens", 10 + random.below(drain < 1 ? 1500 : 300)},
                                     {"ignore_eos", true}});
      if (i % 3 == 0) body = with(body, question("?", data_uri(random_picture(64, 64, i))));
      clients.emplace_back([&heard, i, body, port, wait = 0.3 * random.uniform()] {
        sleep_for(wait);
        heard[i] = ending(port, body);
      });
    }
    sleep_for(0.1 + 0.5 * random.uniform());
    const auto begin = Clock::now();
    ::kill(child_, SIGTERM);
    if (twice) {
      sleep_for(0.02);
      ::kill(child_, SIGTERM);
    }
    const int code = outcome_of(place_.path, child_).code;
    const double took = Seconds(Clock::now() - begin).count();
    for (std::thread& client : clients) client.join();
    EXPECT_TRUE(code == 0 || (twice && code == 143)) << code;
    EXPECT_LT(took, drain + 3);
    slowest = std::max(slowest, took - drain);
    for (const std::string& one : heard) {
      EXPECT_TRUE(one == "" || one == "200" || one == "503" || twice) << one;
      ++endings[one.empty() ? "none" : one];
    }
  }
  std::printf("%d ends, at most %.2f s after --drain; answers:", times, std::max(0.0, slowest));
  for (const auto& [what, count] : endings) std::printf(" %d %s", count, what.c_str());
  std::printf("\n");
}

}  // namespace
}  // namespace revenant
