// A folder with two small pictures and a file of rows.
#pragma once

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/dataset.h"
#include "data/sources.h"
#include "support/temporary.h"

namespace revenant {

class Rows : public testing::Test {
 protected:
  const Temporary place;
  const Path folder = place.path;
  Path file = folder / "rows.json";
  void SetUp() override {
    made_up::write_drawing(folder / "a.png", "a");
    made_up::write_drawing(folder / "b.png", "b");
  }
  std::vector<Row> rows_of(const std::string& text, const RowOptions& options = {}) {
    made_up::write(file, text);
    return read_rows(file, options);
  }
  std::string error_of(const std::string& text, const RowOptions& options = {}) {
    try {
      rows_of(text, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  std::string after_row(const std::string& text, const RowOptions& options = {}) {
    const std::string what = error_of(text, options), start = "[data] " + file.string() + ": row ";
    return what.starts_with(start) ? what.substr(start.size()) : what;
  }
};

// Questions, answers and pictures of a row in one line.
inline std::string told(const Row& row) {
  std::string text = row.question + "|" + row.answer;
  for (const Exchange& turn : row.later) text += "|" + turn.question + "|" + turn.answer;
  if (!row.rejected.empty()) text += "|not " + row.rejected;
  for (const Picture& picture : row.images)
    text += "|" + (picture.inside ? "inside " + picture.inside->pointer
                                  : picture.file.filename().string());
  return text;
}

}  // namespace revenant
