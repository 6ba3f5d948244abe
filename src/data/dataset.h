// Question-answer rows as people have them: JSON, JSONL, Parquet and InternVL's meta files, in the
// forms of LLaVA, ShareGPT, OpenAI, TRL and Phantom's triples. docs/data.md says what of each is
// honoured and what is refused.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "data/picture.h"

namespace revenant {

struct Exchange {
  std::string question, answer;
};

// `question` keeps its `<image>` marks; marks over all turns are as many as `images`, in their
// order. `rejected` stands against the last turn's answer. It, `task`, `split`, `wording` and
// `source` are empty where the file does not have them.
struct Row {
  std::string id;
  std::vector<Picture> images;   // files exist
  std::string question, answer;  // the first turn
  std::vector<Exchange> later;   // the turns after it
  std::string rejected, task, split, wording, source;

  const std::string& last_question() const {
    return later.empty() ? question : later.back().question;
  }
  const std::string& last_answer() const { return later.empty() ? answer : later.back().answer; }
};

// By a field that we know (question, chosen, rejected, image...), what the file calls it; empty:
// the field is passed over.
using FieldNames = std::map<std::string, std::string>;
// Throws Error, naming `subject`, for one that we do not know.
void check_field_names(const FieldNames& fields, const std::string& subject);

struct RowOptions {
  FieldNames fields = {};
  size_t limit = 0;  // only the first rows; 0: all
};

// Throws Error naming the file, the row (counted from 1) and the field.
std::vector<Row> read_rows(const Path& file, const RowOptions& options = {});

// SHA-256 of the file, or of it and those that a meta file names: what its rows' texts depend on.
std::string digest_of_rows(const Path& file);

// Rows [begin, end) that follow each other and share their pictures, if they have any.
struct RowGroup {
  size_t begin, end;
};
std::vector<RowGroup> group_rows(std::span<const Row> rows);

// The pictures that are files of their own.
std::set<Path> picture_files(std::span<const Row> rows);

}  // namespace revenant
