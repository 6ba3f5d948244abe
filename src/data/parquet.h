// Parquet by Apache Arrow, in a library of its own (parquet_module.cc) that is loaded when the
// first such file is met: nobody else waits for Arrow to start, and a build without it has all the
// rest.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "base/file.h"

namespace revenant {

class ParquetRows {
 public:
  virtual ~ParquetRows() = default;
  virtual uint64_t rows() const = 0;
  // All rows in order, few at a time in memory; take(row) returns false for enough.
  virtual void scan(const std::function<bool(const nlohmann::json&)>& take) = 0;
  // One field of one row, as {name: value}. The row group that was read last is kept.
  virtual nlohmann::json field(uint64_t row, const std::string& name) = 0;
};

// Throws Error; it says so by name where this build has no Arrow.
std::unique_ptr<ParquetRows> open_parquet(const Path& file);
// ParquetRows::field of a file that is kept open. Safe from many threads.
nlohmann::json parquet_field(const Path& file, uint64_t row, const std::string& name);

}  // namespace revenant
