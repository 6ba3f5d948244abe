// Lines from a person at a terminal, with editing and history (libedit). docs/chat.md has the keys.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/terminal.h"

namespace revenant {

class LineEditor {
 public:
  LineEditor();  // stdin and stderr must be one terminal
  ~LineEditor();

  // A line, which may hold newlines that were pasted or typed, in UTF-8 and without its end.
  // Nothing: Ctrl-D on an empty line, or Ctrl-C on two of them.
  std::optional<std::string> read();
  void remember(const std::string& line);  // for the keys that go back

 private:
  struct State;
  terminal::Held held_;
  std::unique_ptr<State> state_;
};

}  // namespace revenant
