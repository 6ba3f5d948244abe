#include "fuzz/http_target.h"

#include <algorithm>
#include <set>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/sha256.h"
#include "serve/server.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"
#include "support/wire.h"

namespace revenant::fuzz {
namespace {

// Small limits, so that inputs of a few kilobytes reach them.
ApiOptions api_options() {
  ApiOptions api;
  api.max_tokens = 4;
  api.context = 64;
  api.origins = {"https://page.example"};
  api.ask.choices = 2;
  api.pictures = {.pixels = 10'000, .side = 200};
  api.schedule.parallel = 2;
  api.schedule.queue = 4;
  api.schedule.picture_bytes = 1 << 16;
  return api;
}

HttpOptions http_options() {
  using Seconds = HttpOptions::Seconds;
  HttpOptions http;
  http.port = 0;
  http.body_bytes = 4096;
  http.header_bytes = 2048;
  http.uri_bytes = 500;
  http.header_fields = 20;
  http.memory = 8192;
  http.readers = 1;
  http.header_time = http.body_pause = http.keep_alive = Seconds(1);
  http.body_time = Seconds(2);
  http.ping = Seconds(0.005);
  http.drain = Seconds(0.1);
  return http;
}

// One server for all inputs of a process, with a small model of random weights.
class Serving {
 public:
  // OpenSSL is begun before, and so ends after it: threads that end later lose its memory.
  Serving()
      : begun_(sha256_of("")), server_(api_options(), http_options(), [this] { return model(); }) {
    running_ = std::thread([this] { server_.run(false); });
    while (!server_.api().scheduler()) std::this_thread::yield();
  }
  ~Serving() {
    server_.stop();
    running_.join();
  }
  uint16_t port() const { return server_.port(); }
  bool at_rest() {
    const Scheduler& scheduler = *server_.api().scheduler();
    return server_.http().connections() == 0 && scheduler.running() == 0 &&
           scheduler.waiting() == 0;
  }

 private:
  std::shared_ptr<const Model> model() const {
    write_random_phantom(folder_.path / "model", 7);
    return std::make_shared<const Model>(folder_.path / "model",
                                         ModelOptions{.threads = 1, .cache_memory = 1 << 22});
  }
  const std::string begun_;
  const Temporary folder_;
  Server server_;
  std::thread running_;
};

void check_head(std::string_view head) {
  CHECK(head.starts_with("HTTP/1.1 ") && head.ends_with("\r\n"));
  for (bool first = true; !head.empty(); first = false) {
    const std::string_view line = head.substr(0, head.find("\r\n"));
    head.remove_prefix(line.size() + 2);
    CHECK(first || line.find(": ") != line.npos);
    CHECK(std::ranges::all_of(line, [](unsigned char c) { return c >= ' ' && c != 127; }));
  }
}

std::string_view field(std::string_view head, const std::string& name) {
  const size_t at = head.find("\r\n" + name + ": ");
  if (at == head.npos) return {};
  head.remove_prefix(at + name.size() + 4);
  return head.substr(0, head.find("\r\n"));
}

size_t number(std::string_view digits, int base) {
  CHECK(!digits.empty() && digits.find_first_not_of("0123456789abcdef") == digits.npos);
  return std::stoul(std::string(digits), nullptr, base);
}

// How many bytes at the front of `rest` are the body in chunks.
size_t length_of_chunks(std::string_view rest) {
  for (size_t at = 0;;) {
    const size_t line = rest.find("\r\n", at);
    CHECK(line != rest.npos);
    const size_t size = number(rest.substr(at, line - at), 16);
    at = line + 2 + size + 2;
    CHECK(at <= rest.size() && rest.substr(at - 2, 2) == "\r\n");
    if (size == 0) return at;
  }
}

size_t length_of_body(int status, std::string_view head, std::string_view rest) {
  if (status == 100 || status == 204 || status == 304) return 0;
  if (field(head, "Transfer-Encoding") == "chunked") return length_of_chunks(rest);
  const std::string_view length = field(head, "Content-Length");
  if (length.empty()) return rest.size();                       // a stream of HTTP/1.0
  if (rest.empty() || rest.starts_with("HTTP/1.1 ")) return 0;  // the answer to a HEAD
  return number(length, 10);
}

struct Heard {
  std::vector<int> statuses;
  bool closed = false;  // as the last one says
};

Heard responses(std::string_view all) {
  static const std::set<int> known = {100, 200, 204, 304, 400, 403, 404,
                                      405, 408, 413, 414, 431, 503};
  Heard heard;
  while (!all.empty()) {
    const size_t end = all.find("\r\n\r\n");
    CHECK(end != all.npos);
    const std::string_view head = all.substr(0, end + 2);
    check_head(head);
    const int status = int(number(head.substr(9, 3), 10));
    CHECK(known.contains(status));
    all.remove_prefix(end + 4);
    const size_t length = length_of_body(status, head, all);
    CHECK(length <= all.size());
    all.remove_prefix(length);
    if (status != 100) heard.statuses.push_back(status);
    heard.closed = field(head, "Connection") == "close";
  }
  return heard;
}

std::string last_request() {
  const HttpOptions limits = http_options();
  return "GET /health HTTP/1.1\r\nConnection: close\r\n\r\n" +
         std::string(2 * (limits.body_bytes + limits.header_bytes), 'x');
}

void say(Wire& wire, std::string_view bytes, char pieces) {
  const size_t piece = pieces == '0' ? std::max<size_t>(1, bytes.size()) : 1 + uint8_t(pieces);
  for (size_t at = 0; at < bytes.size(); at += piece) wire.say(bytes.substr(at, piece));
}

// Who leaves at once may come to the server only now, and is of the next check.
void check_all_ended(Serving& serving) {
  for (const Stopwatch watch; !serving.at_rest();) {
    CHECK(watch.seconds() < 5);
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

}  // namespace

void http(std::string_view bytes) {
  if (bytes.size() < 2) throw Error("serve", "input", "what the client does", "nothing");
  static Serving serving;
  const char then = bytes[0];
  const bool waits = then != 'h' && then != 'l', asks = waits && then != 's';
  const std::string all = std::string(bytes.substr(2)) + (asks ? last_request() : "");
  const Stopwatch watch;
  Heard heard;
  {
    Wire wire(serving.port());
    CHECK(wire.connected());
    say(wire, all, bytes[1]);
    if (then == 'h') wire.half_close();
    const std::string told = then == 'l' ? "" : wire.hear_all();
    if (waits) heard = responses(told);
    wire.reset();
  }
  check_all_ended(serving);
  CHECK(watch.seconds() < 9);
  const auto refused = std::ranges::find_if(heard.statuses, [](int s) { return s >= 400; });
  if (refused != heard.statuses.end())
    throw Error("serve", "input", "answers", std::to_string(*refused));
  if (asks && !heard.closed) throw Error("serve", "input", "an answer to the last", "none");
}

}  // namespace revenant::fuzz
