// HTTP by hand: requests as text, and what comes back read by the letter.
#pragma once

#include <chrono>
#include <thread>

#include "harness.h"
#include "support/wire.h"

namespace revenant {

using Clock = std::chrono::steady_clock;

struct Response {
  int status = 0;
  std::string head, body;
  bool has(const std::string& line) const { return head.find("\r\n" + line + "\r\n") != head.npos; }
};

// One response, by its own length or in chunks, each exactly as long as it says.
inline Response response(Wire& wire) {
  Response got;
  got.head = wire.hear_until("\r\n\r\n");
  if (!got.head.starts_with("HTTP/1.1 ")) return got;
  got.status = std::stoi(got.head.substr(9, 3));
  if (got.has("Transfer-Encoding: chunked")) {
    for (size_t size = 1; size > 0;) {
      const std::string line = wire.hear_until("\r\n");
      EXPECT_FALSE(line.empty());
      if (line.empty()) break;
      size = std::stoul(line, nullptr, 16);
      got.body += wire.hear_bytes(size);
      EXPECT_EQ(wire.hear_bytes(2), "\r\n");
    }
    return got;
  }
  const size_t at = got.head.find("Content-Length: ");
  if (at != got.head.npos) got.body = wire.hear_bytes(std::stoul(got.head.substr(at + 16)));
  return got;
}

// Server-sent events by the letter of their form: `data: ` lines, each with an empty line behind;
// comments are passed over.
inline std::vector<std::string> events_of(const std::string& body) {
  std::vector<std::string> events;
  for (size_t at = 0; at < body.size();) {
    const size_t end = body.find("\n\n", at);
    EXPECT_NE(end, body.npos);
    if (end == body.npos) break;
    const std::string event = body.substr(at, end - at);
    at = end + 2;
    if (event.starts_with(":")) continue;
    EXPECT_TRUE(event.starts_with("data: ")) << event;
    EXPECT_EQ(event.find('\n'), event.npos);
    EXPECT_EQ(event.find('\r'), event.npos);
    events.push_back(event.substr(6));
  }
  return events;
}

inline std::string post(const std::string& path, const json& body, const std::string& more = "") {
  const std::string text = body.dump();
  return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + more +
         "Content-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text;
}
inline std::string get(const std::string& path, const std::string& more = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + more + "\r\n";
}

inline const std::string chat = "/v1/chat/completions";

template <class F>
bool soon(const F& holds, double seconds = 10) {
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (!holds() && Clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  return holds();
}

}  // namespace revenant
