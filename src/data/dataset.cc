#include "data/dataset.h"

#include "base/error.h"
#include "base/sha256.h"
#include "data/row_scan.h"

namespace revenant {
namespace {

[[noreturn]] void refuse(const RowPlace& place, const Fault& fault) {
  const std::string row = place.file.string() + ": row " + std::to_string(place.row);
  throw Error("data", row + (fault.field.empty() ? "" : ".") + fault.field, fault.expected,
              fault.found);
}

}  // namespace

std::vector<Row> read_rows(const Path& file, const RowOptions& options) {
  check_field_names(options.fields, file.string() + ": fields");
  const size_t limit = options.limit ? options.limit : SIZE_MAX;
  std::vector<Row> rows;
  for (const RowPart& part : row_parts(file)) {
    const size_t begin = rows.size();
    if (begin == limit) break;
    scan_rows(part, options.fields, [&](const RowPlace& place, RowReading&& reading) {
      if (!reading.faults.empty()) refuse(place, reading.faults.front());
      rows.push_back(std::move(reading.row));
      return rows.size() < limit;
    });
    const size_t end = rows.size();
    for (double again = 1; again < part.repeat; ++again)
      for (size_t i = begin; i < end && rows.size() < limit; ++i) rows.push_back(rows[i]);
  }
  return rows;
}

std::string digest_of_rows(const Path& file) {
  const std::vector<RowPart> parts = row_parts(file);
  const std::string own = sha256_of_file(file);
  if (parts.size() == 1 && parts.front().name.empty()) return own;
  Sha256 digest;
  digest.add(own);
  for (const RowPart& part : parts) digest.add(sha256_of_file(part.file));
  return digest.digits();
}

std::vector<RowGroup> group_rows(std::span<const Row> rows) {
  std::vector<RowGroup> groups;
  for (size_t i = 0; i < rows.size(); ++i) {
    const bool same = i > 0 && !rows[i].images.empty() && rows[i].images == rows[i - 1].images;
    if (same)
      groups.back().end = i + 1;
    else
      groups.push_back({i, i + 1});
  }
  return groups;
}

std::set<Path> picture_files(std::span<const Row> rows) {
  std::set<Path> files;
  for (const Row& row : rows)
    for (const Picture& picture : row.images)
      if (!picture.inside) files.insert(picture.file);
  return files;
}

}  // namespace revenant
