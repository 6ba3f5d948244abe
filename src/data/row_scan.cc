#include "data/row_scan.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "data/json_rows.h"
#include "data/parquet.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

constexpr double most_repeats = 1000;  // rows are held as often

bool is_parquet(std::string_view bytes) { return bytes.starts_with("PAR1"); }

// InternVL takes names of a meta file from the working directory; beside the meta file comes first.
Path found_from(const Path& meta, const Path& name) {
  const Path beside = meta.parent_path() / expand_home(name);
  return std::filesystem::exists(beside) ? beside : expand_home(name);
}

std::string text_at(const Place& entry, const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string())
    (entry / key).fail("a path", found == json.end() ? "none" : shown(*found));
  return found->get<std::string>();
}

RowPart part_of(const Path& meta, const Place& entry, const std::string& name, const Json& json) {
  RowPart part;
  part.name = name;
  part.file = found_from(meta, text_at(entry, json, "annotation"));
  part.folder = found_from(meta, text_at(entry, json, "root"));
  for (const auto& [key, value] : json.items()) {
    const Place at = entry / key;
    if (key == "repeat_time") {
      part.repeat = value.is_number() ? value.get<double>() : 0;
      if (!(part.repeat > 0 && part.repeat <= most_repeats) ||
          (part.repeat > 1 && part.repeat != std::floor(part.repeat)))
        at.fail("a share of the rows below 1, or a whole number from 1 up", shown(value));
    } else if (key == "data_augment") {
      if (value != false) at.fail("false: InternVL's noise is not applied here", shown(value));
    } else if (key == "length") {
      if (!value.is_number_unsigned()) at.fail("a number of rows", shown(value));
      part.length = value.get<size_t>();
    } else if (key != "root" && key != "annotation") {
      at.fail("root, annotation, repeat_time, data_augment or length", "a setting not honoured");
    }
  }
  return part;
}

// All values are objects; a row has texts or lists.
bool is_meta(const Json& json) {
  return json.is_object() && !json.empty() && std::ranges::all_of(json, &Json::is_object);
}

// One file on its way to its rows.
struct Scan {
  const RowPart& part;
  const FieldNames& fields;
  const TakeRow& take;
  std::set<std::string> unseen = {};  // names of fields that no row had so far
  RowPlace place = {};

  bool row(const Json& json, uint64_t at, uint64_t size) {
    for (auto it = unseen.begin(); it != unseen.end();)
      it = json.is_object() && json.contains(*it) ? unseen.erase(it) : std::next(it);
    return take(place, read_row(json, {part.file, at, size, part.folder, fields}));
  }
};

size_t most_rows(double repeat, const std::function<size_t()>& count) {
  return repeat < 1 ? size_t(double(count()) * repeat) : SIZE_MAX;
}

// What parse_json said about a row: its place inside, expected and found.
Fault fault_of(const Error& error, const Place& row) {
  std::string what = error.what();
  const std::string where = "[" + row.room + "] " + row.text(), found = ", found ";
  CHECK(what.starts_with(where));
  what.erase(0, where.size());
  const size_t colon = what.find(": expected "), middle = what.find(found, colon);
  if (colon == what.npos || middle == what.npos) return {"", "JSON", what};
  const std::string expected = what.substr(colon + 11, middle - colon - 11);
  return {what.substr(colon > 0, colon - (colon > 0)), expected,
          what.substr(middle + found.size())};
}

void scan_json(Scan& scan, std::string_view file) {
  const Place place{"data", scan.part.file.string()};
  const std::string_view text = json_text_of(file);
  const JsonForm form = json_form(text, place);
  const size_t most = most_rows(scan.part.repeat, [&] {
    size_t rows = 0;
    split_rows(text, form, place, [&](std::string_view) { return ++rows > 0; });
    return rows;
  });
  if (most == 0) return;
  size_t counted = 0;  // bytes whose line breaks are counted
  scan.place.line = 1;
  scan.place.total = file.size();
  split_rows(text, form, place, [&](std::string_view slice) {
    const size_t at = size_t(slice.data() - file.data());
    scan.place.line += size_t(std::ranges::count(file.substr(counted, at - counted), '\n'));
    counted = at;
    scan.place.done = at + slice.size();
    const bool more = ++scan.place.row < most;
    Json json;
    const Place row = place / ("row " + std::to_string(scan.place.row));
    try {
      json = parse_json(slice, row);
    } catch (const Error& error) {
      return scan.take(scan.place, {{}, {fault_of(error, row)}}) && more;
    }
    return scan.row(json, at, slice.size()) && more;
  });
}

void scan_parquet(Scan& scan) {
  const auto rows = open_parquet(scan.part.file);
  scan.place.total = rows->rows();
  const size_t most = most_rows(scan.part.repeat, [&] { return size_t(rows->rows()); });
  if (most == 0) return;
  rows->scan([&](const Json& json) {
    const uint64_t at = scan.place.row++;
    scan.place.done = scan.place.row;
    return scan.row(json, at, 0) && scan.place.row < most;
  });
}

}  // namespace

std::vector<RowPart> row_parts(const Path& file) {
  const std::vector<RowPart> itself = {{file, file.parent_path()}};
  const MappedFile mapped(file);
  const Place place{"data", file.string()};
  const std::string_view text = json_text_of(mapped.text());
  if (is_parquet(mapped.text()) || json_form(text, place) != JsonForm::object) return itself;
  const Json json = parse_json(text, place);
  if (!is_meta(json)) return itself;
  std::vector<RowPart> parts;
  for (const auto& [name, entry] : json.items())
    parts.push_back(part_of(file, place / name, name, entry));
  return parts;
}

size_t scan_rows(const RowPart& part, const FieldNames& fields, const TakeRow& take) {
  const MappedFile mapped(part.file);
  bool all = true;
  const TakeRow until = [&](const RowPlace& place, RowReading&& reading) {
    return all = take(place, std::move(reading));
  };
  Scan scan{part, fields, until};
  scan.place.file = part.file;
  for (const auto& [ours, theirs] : fields)
    if (!theirs.empty()) scan.unseen.insert(theirs);
  is_parquet(mapped.text()) ? scan_parquet(scan) : scan_json(scan, mapped.text());
  if (all && scan.place.row > 0 && !scan.unseen.empty())
    throw Error("data", part.file.string(), "a field " + *scan.unseen.begin() + " in some row",
                "none");
  return scan.place.row;
}

}  // namespace revenant
