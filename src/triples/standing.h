// Where a row stands on its way to a triple: a function of what was said about it, so that a run
// that goes on decides as an unbroken one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace revenant {

enum class Review { unsure, all };

struct Rules {
  int tries = 3;  // for a usable wrong answer, and for a verdict about it
  // By how much of the right answer's length a wrong one may be longer or shorter.
  double length = 0.5;
  Review review = Review::unsure;  // whom a person sees: without a verdict, or all not refused
};

// What a person said of a row.
struct Word {
  bool keep = false;
  std::string rejected;

  bool operator==(const Word&) const = default;
};

// What was said about a row so far.
struct Said {
  std::string text;
  bool whole = true;  // it ended by itself
};
struct History {
  std::vector<Said> tries, verdicts;  // the verdicts are about the last try
  std::optional<Word> person = {};
};

enum class Stage { ask, judge, kept, dropped, queued };
struct Standing {
  Stage stage;
  std::string rejected = {};  // of judge, kept and queued
  std::string why = {};       // of dropped and queued
};
Standing standing_of(const Row& row, const History& history, const Rules& rules);

// The answer in what a model said: without its thoughts (<think>...</think>), white space and
// quotation marks around.
std::string answer_in(const std::string& said);
// Why it cannot be a wrong answer; empty: it can.
std::string fault_of(const std::string& right, const Said& said, const Rules& rules);
// Yes or no, if that is the first word.
std::optional<bool> verdict_in(const std::string& said);

size_t letters_in(std::string_view text);  // code points; broken UTF-8 counts as U+FFFD

}  // namespace revenant
