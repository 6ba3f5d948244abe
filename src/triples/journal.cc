#include "triples/journal.h"

#include "base/json.h"

namespace revenant {

using nlohmann::json;

TriplesJournal::TriplesJournal(const Path& file, const json& run, size_t rows)
    : histories_(rows),
      journal_(file, run, {"triples", true},
               [this](const json& l, const Place& p) { take(l, p); }) {}

void TriplesJournal::take(const json& line, const Place& place) {
  try {
    note(line);
  } catch (const std::exception&) {
    place.fail("what was said about a row", shown(line));
  }
}

// {"row", "wrong" or "verdict", "whole", "tokens": [prompt, completion]}, or {"row", "keep",
// "rejected"}; rows count from 1.
void TriplesJournal::note(const json& line) {
  const auto row = line.at("row").get<size_t>();
  if (row == 0) throw std::out_of_range("row");
  History beyond;  // an earlier run took more of the rows
  History& history = row <= histories_.size() ? histories_[row - 1] : beyond;
  if (line.contains("keep")) {
    history.person = {line.at("keep").get<bool>(), line.at("rejected").get<std::string>()};
    return;
  }
  const bool wrong = line.contains("wrong");
  const Said said{line.at(wrong ? "wrong" : "verdict").get<std::string>(),
                  line.at("whole").get<bool>()};
  const json& tokens = line.at("tokens");
  const auto prompt = tokens.at(0).get<int64_t>(), completion = tokens.at(1).get<int64_t>();
  (wrong ? history.tries : history.verdicts).push_back(said);
  if (wrong) history.verdicts.clear();
  Spent& spent = wrong ? tries_ : verdicts_;
  ++spent.answers;
  spent.uncounted += prompt < 0 || completion < 0;
  spent.prompt_tokens += std::max(int64_t(0), prompt);
  spent.completion_tokens += std::max(int64_t(0), completion);
}

void TriplesJournal::add(size_t row, const char* what, const ChatReply& reply) {
  const json line = {{"row", row + 1},
                     {what, reply.text},
                     {"whole", reply.whole},
                     {"tokens", {reply.prompt_tokens, reply.completion_tokens}}};
  const std::lock_guard lock(adding_);
  journal_.add(line);
  note(line);
}

void TriplesJournal::add_try(size_t row, const ChatReply& reply) { add(row, "wrong", reply); }
void TriplesJournal::add_verdict(size_t row, const ChatReply& reply) { add(row, "verdict", reply); }

void TriplesJournal::add_word(size_t row, const Word& word) {
  const json line = {{"row", row + 1}, {"keep", word.keep}, {"rejected", word.rejected}};
  const std::lock_guard lock(adding_);
  journal_.add(line);
  note(line);
}

}  // namespace revenant
