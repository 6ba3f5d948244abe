// Where in a file one is, for messages: the one way in which a reader says it.
#pragma once

#include "base/error.h"

namespace revenant {

// Room of the Error, file (or what else is read), and the path inside:
//   const Place config{"config", "m/config.json"};
//   (config / "rope_scaling" / "factors")[3].fail("a number", "\"x\"");
// throws "[config] m/config.json: rope_scaling.factors[3]: expected a number, found "x"".
struct Place {
  std::string room, file, inside = {};

  Place operator/(std::string_view step) const {
    return {room, file, (inside.empty() ? "" : inside + '.').append(step)};
  }
  Place operator[](size_t index) const {
    return {room, file, inside + '[' + std::to_string(index) + ']'};
  }
  std::string text() const { return inside.empty() ? file : file + ": " + inside; }

  [[noreturn]] void fail(const std::string& expected, const std::string& found) const {
    throw Error(room, text(), expected, found);
  }
  [[noreturn]] void fail(const std::string& message) const { throw Error(room, text(), message); }
};

}  // namespace revenant
