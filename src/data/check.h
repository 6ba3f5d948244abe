// What is wrong with a data set, before hours are spent on it.
#pragma once

#include "base/tile_rule.h"
#include "data/row_scan.h"
#include "data/turns.h"

namespace revenant {

// What tells how long a row's sequence is.
struct Measure {
  const PromptRule& rule;
  Tokenizer tokenizer;
  TileRule tiles;
  int tokens_per_tile = 0;
  int max_length = 0;  // longer sequences are wrong; 0: none is
};

struct CheckOptions {
  FieldNames fields = {};
  ReadOptions reading = {};
  std::optional<Measure> measure = {};
  int threads = 0;  // that decode pictures; 0: as many as the machine has
  std::function<void(uint64_t done, uint64_t total)> progress = {};
};

// One thing found; `row` 0: about the file. What a warning is about can be trained on.
struct Finding {
  RowPlace place;
  Fault fault;
  bool warning = false;

  std::string text() const;  // "rows.jsonl: row 3 (line 3): image: expected X, found Y"
};

struct CheckTotals {
  size_t rows = 0;      // each once, whatever a meta file repeats
  size_t wrong = 0;     // of them, with anything wrong
  size_t findings = 0;  // that are wrong; warnings come on top
  size_t warnings = 0;
  size_t turns = 0, pairs = 0, text_only = 0;
  size_t pictures = 0, decoded = 0;  // as rows show them; different ones
  size_t oriented = 0;               // decoded files with an EXIF orientation that asks for a turn
  // Of the good rows' sequences, with Measure; a pair has its longer one.
  size_t measured = 0, tokens = 0, longest = 0;

  bool good() const { return findings == 0; }
};

// Every row, and every picture decoded once, in the order of the file.
CheckTotals check_rows(const Path& file, const CheckOptions& options,
                       const std::function<void(const Finding&)>& tell);

}  // namespace revenant
