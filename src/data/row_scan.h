// One row after another out of a file of any format, without holding more than one.
#pragma once

#include <functional>
#include <optional>

#include "data/row_form.h"

namespace revenant {

// A part of a set: all of an ordinary file, or what one entry of an InternVL meta file says.
struct RowPart {
  Path file, folder;  // folder: where relative names of pictures begin
  double repeat = 1;  // below 1: the first share of the rows; else so many times all of them
  std::optional<size_t> length = {};  // how many rows the meta file says there are
  std::string name = {};              // of the entry; empty: no meta file
};
std::vector<RowPart> row_parts(const Path& file);

// `row` counts from 1, `line` too; line 0: the format has no lines. done of total: bytes, or rows.
struct RowPlace {
  Path file;
  size_t row = 0, line = 0;
  uint64_t done = 0, total = 0;
};
using TakeRow = std::function<bool(const RowPlace&, RowReading&&)>;  // false: enough

// The rows that training would take from the part, each once. How many were given. A row that is no
// JSON has that as its fault; throws Error where nothing beyond can be read.
size_t scan_rows(const RowPart& part, const FieldNames& fields, const TakeRow& take);

}  // namespace revenant
