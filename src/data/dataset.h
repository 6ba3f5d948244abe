// Reading LLaVA-style JSON: a list of rows, each with its pictures and its conversation.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/file.h"

namespace revenant {

struct Exchange {
  std::string question, answer;
};

// `question` keeps its `<image>` marks; marks over all turns are as many as `images`, in their
// order. `rejected`, `task`, `split`, `wording` and `source` are empty where the file does not have
// them.
struct Row {
  std::string id;
  std::vector<Path> images;      // resolved against the JSON file's folder; they exist
  std::string question, answer;  // the first turn
  std::vector<Exchange> later;   // the turns after it
  std::string rejected, task, split, wording, source;
};

// The first `limit` rows, or all (0). Throws Error naming the file, the row (counted from 1) and
// the key.
std::vector<Row> read_rows(const Path& json, size_t limit = 0);

// Rows [begin, end) that follow each other and share their pictures, if they have any.
struct RowGroup {
  size_t begin, end;
};
std::vector<RowGroup> group_rows(std::span<const Row> rows);

}  // namespace revenant
