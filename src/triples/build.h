// Triples from rows: two models are asked about each, many at a time, and a person where they leave
// it open.
#pragma once

#include <map>

#include "triples/journal.h"
#include "triples/review.h"

namespace revenant {

struct TriplesFiles {
  Path output, journal, review;
};
// NAME.jsonl, and beside it NAME.journal.jsonl and NAME.review.json.
TriplesFiles triples_files(const Path& output);

struct TriplesOptions {
  TriplesFiles files;
  ChatOptions writer, judge;
  Rules rules = {};
  bool pictures = false;  // both are shown them
  int parallel = 4;       // rows at a time
  bool more = false;      // the rows are the first of a set; a review may speak of others
  nlohmann::json data{};  // what the rows are: where that changed, a journal is of no use
  // Asked on the calling thread; false: nothing more is asked for, and what is under way is
  // waited for.
  GoOn go_on = {};
  std::function<void(size_t done, size_t total, size_t kept)> progress = {};
};

struct TriplesReport {
  size_t rows = 0, kept = 0, queued = 0;
  size_t given = 0, by_person = 0;  // of the kept: they had one; a person said so
  std::map<std::string, size_t> dropped;
  std::vector<std::string> failures;  // one a row that got no answer; asked again next time
  Spent writer, judge;                // of all runs
  size_t requests = 0, retries = 0;   // of this one
};

// Takes the review in, asks, and writes output and review. Throws Stopped (nothing is written but
// the journal, which the next call goes on from), and Error.
TriplesReport build_triples(std::span<const Row> rows, const TriplesOptions& options);

}  // namespace revenant
