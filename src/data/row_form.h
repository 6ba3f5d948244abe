// From one row of JSON (Parquet's become JSON first) to a Row: which form it has is seen by its
// fields.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "data/dataset.h"

namespace revenant {

// Something wrong with a row: in which field of it (empty: in the row as a whole).
struct Fault {
  std::string field, expected, found;
};

// What the text of a row does not say.
struct RowSource {
  Path file;          // where it stands
  uint64_t at, size;  // there, as Picture::Inside has them
  Path folder;        // where relative names of pictures begin
  const FieldNames& fields;
};

// `row` is whole where there is no fault; else what could be read of it.
struct RowReading {
  Row row;
  std::vector<Fault> faults;
  std::vector<std::string> picture_fields = {};  // where row.images stand
  std::string rejected_field = {};
};
RowReading read_row(const nlohmann::json& json, const RowSource& source);

// The bytes of the picture that `value`, a field of a row, holds.
std::string picture_bytes(const nlohmann::json& value);

}  // namespace revenant
