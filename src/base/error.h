// The two kinds of failure. Bad input (files, options, requests) throws `Error`; a programmer's
// mistake fails a CHECK. Library code never prints and never exits.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace revenant {

// what() reads "[room] subject: expected X, found Y", or "[room] subject: message".
struct Error : std::runtime_error {
  Error(const std::string& room, const std::string& subject, const std::string& expected,
        const std::string& found)
      : Error(room, subject, "expected " + expected + ", found " + found) {}
  Error(const std::string& room, const std::string& subject, const std::string& message)
      : std::runtime_error("[" + room + "] " + subject + ": " + message) {}
};

// What the JSON library says, without its "[json.exception.parse_error.101] ", for messages.
inline std::string json_reason(std::string_view what) {
  const size_t end = what.starts_with("[json.exception.") ? what.find("] ") : what.npos;
  return std::string(end == what.npos ? what : what.substr(end + 2));
}

// A mistake in how the library is called; never the user's fault.
struct CheckFailed : std::logic_error {
  using std::logic_error::logic_error;
};

[[noreturn]] inline void check_failed(const char* condition, const char* file, int line) {
  throw CheckFailed(std::string(file) + ":" + std::to_string(line) +
                    ": CHECK failed: " + condition);
}

#undef CHECK  // libtorch has one too; either serves
#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) ::revenant::check_failed(#condition, __FILE__, __LINE__); \
  } while (0)

}  // namespace revenant
