// Every parser of what strangers write, as a function of bytes. libFuzzer calls them with inputs of
// its own (fuzzer.cc, tools/fuzz.sh), the ordinary tests with the files of corpus/NAME (replay.cc).
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace revenant::fuzz {

struct Target {
  std::string_view name;            // of the target and of its folder in corpus/
  void (*parse)(std::string_view);  // may throw Error, and nothing else
};

std::span<const Target> targets();
const Target& target(std::string_view name);  // throws Error

// Why `bytes` were refused; empty: they were accepted.
inline std::string refusal(const Target& target, std::string_view bytes) {
  try {
    target.parse(bytes);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace revenant::fuzz
