// All that was said about a file's rows, in the order in which it came, on disk before it counts: a
// run that was killed asks for nothing twice.
#pragma once

#include <mutex>
#include <span>

#include "base/journal.h"
#include "client/chat.h"
#include "triples/standing.h"

namespace revenant {

// What a model's answers cost, as its server counts.
struct Spent {
  size_t answers = 0, uncounted = 0;  // uncounted: of them, without a count
  int64_t prompt_tokens = 0, completion_tokens = 0;
};

// Safe from many threads, as long as a row is one thread's.
class TriplesJournal {
 public:
  TriplesJournal(const Path& file, const nlohmann::json& run, size_t rows);

  const History& history(size_t row) const { return histories_[row]; }
  void add_try(size_t row, const ChatReply& reply);
  void add_verdict(size_t row, const ChatReply& reply);
  void add_word(size_t row, const Word& word);

  // Of all runs.
  const Spent& tries() const { return tries_; }
  const Spent& verdicts() const { return verdicts_; }

 private:
  void take(const nlohmann::json& line, const Place& place);
  void note(const nlohmann::json& line);
  void add(size_t row, const char* what, const ChatReply& reply);

  std::vector<History> histories_;
  Spent tries_, verdicts_;
  std::mutex adding_;
  Journal journal_;
};

}  // namespace revenant
