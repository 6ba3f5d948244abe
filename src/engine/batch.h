// One step of many sessions: pieces of prompts and generated rows in one forward.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "engine/session.h"

namespace revenant {

// A session's member of a step: its next rows, so many at most.
struct Entry {
  Session* session = nullptr;
  int rows = rows_together;
  Observer* observer = nullptr;  // sees the session's own rows
};

struct Computed {
  // Of each entry: the rows that were computed; the row of `logits` that chooses the next token, -1
  // where tokens are left without rows; or why none were, the session being what it was before.
  struct Of {
    int rows = 0, logits = -1;
    std::optional<Error> failure = {};
  };
  std::vector<Of> of;
  Tensor logits;  // [sessions that are complete, vocab]
  Tensor states;  // [sessions that are complete, hidden] what they are made of, after the last norm
};

// The sessions are different ones of one model. One's failure (a key that its cache cannot hold, no
// room for its rows) changes nothing for the others. If it throws (Stopped by `go_on`, no memory),
// no session has changed.
Computed compute_rows(std::span<const Entry> entries, const GoOn& go_on = {});

}  // namespace revenant
