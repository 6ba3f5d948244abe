// The terminal while a chat holds it: what is typed during an answer waits unechoed, of any length
// (a line that the system collects keeps 4,095 bytes), and what is pasted comes between marks.
#pragma once

namespace revenant::terminal {

class Held {
 public:
  Held();  // stdin must be a terminal; the marks are asked for on stderr
  ~Held();
  Held(const Held&) = delete;
};

// Gives back what is held, if anything is; for signal handlers too.
void restore();

// Stops the whole job as Ctrl-Z does, the terminal given back meanwhile.
void suspend();

}  // namespace revenant::terminal
