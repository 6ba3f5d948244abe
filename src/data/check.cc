#include "data/check.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/threads.h"
#include "image/orientation.h"
#include "image/tiles.h"

namespace revenant {
namespace {

constexpr size_t rows_at_a_time = 512;

// What decoding a picture gave; its pixels are gone.
struct Seen {
  int width = 0, height = 0;
  bool oriented = false;   // a file whose EXIF asks for a turn
  std::string wrong = {};  // empty: nothing
};

Seen seen_of(const Picture& picture, const ReadOptions& options) {
  try {
    const Image image = read_picture(picture, options);
    const bool oriented =
        !picture.inside && exif_orientation(MappedFile(picture.file).bytes()) != 1;
    return {image.width, image.height, oriented};
  } catch (const Error& error) {
    return {0, 0, false, error.what()};
  }
}

struct Waiting {
  RowPlace place;
  RowReading reading;
};

class Checker {
 public:
  Checker(const CheckOptions& options, const std::function<void(const Finding&)>& tell)
      : options_(options), tell_(tell), threads_(options.threads) {}

  void check(const RowPart& part) {
    RowPlace file{part.file};
    try {
      const size_t rows =
          scan_rows(part, options_.fields, [&](const RowPlace& place, RowReading&& reading) {
            waiting_.push_back({place, std::move(reading)});
            if (waiting_.size() == rows_at_a_time) finish();
            return true;
          });
      if (rows == 0) waiting_fault(file, {"", "at least one row", "none"});
      if (part.length && part.repeat >= 1 && *part.length != rows)
        later_.push_back(
            {file,
             {part.name + ".length", std::to_string(*part.length) + " rows", std::to_string(rows)},
             true});
    } catch (const Error& error) {
      waiting_fault(file, {"", "rows that can be read", error.what()});
    }
    finish();
    for (const Finding& finding : later_) say(finding);
    later_.clear();
  }
  CheckTotals totals() const { return totals_; }

 private:
  void waiting_fault(const RowPlace& file, Fault fault) {
    later_.push_back({file, std::move(fault)});
  }

  void say(const Finding& finding) {
    ++(finding.warning ? totals_.warnings : totals_.findings);
    tell_(finding);
  }

  // The rows that wait: first their new pictures, on all threads, then what is said about each.
  void finish() {
    std::vector<const Picture*> fresh;
    for (const Waiting& row : waiting_)
      for (const Picture& picture : row.reading.row.images)
        if (!picture.inside && seen_.try_emplace(picture.file.string()).second)
          fresh.push_back(&picture);
        else if (picture.inside)
          fresh.push_back(&picture);
    std::vector<Seen> results(fresh.size());
    threads_.parallel_for(fresh.size(), 1, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) results[i] = seen_of(*fresh[i], options_.reading);
    });
    totals_.decoded += fresh.size();
    totals_.oriented += size_t(std::ranges::count(results, true, &Seen::oriented));
    std::map<const Picture*, const Seen*> inside;
    for (size_t i = 0; i < fresh.size(); ++i)
      if (fresh[i]->inside)
        inside[fresh[i]] = &results[i];
      else
        seen_[fresh[i]->file.string()] = std::move(results[i]);
    for (const Waiting& row : waiting_) {
      std::vector<Seen> shown;
      for (const Picture& picture : row.reading.row.images)
        shown.push_back(picture.inside ? *inside.at(&picture) : seen_.at(picture.file.string()));
      look_at(row, shown);
    }
    if (options_.progress && !waiting_.empty())
      options_.progress(waiting_.back().place.done, waiting_.back().place.total);
    waiting_.clear();
  }

  void look_at(const Waiting& waiting, std::span<const Seen> shown) {
    const Row& row = waiting.reading.row;
    std::vector<Fault> faults = waiting.reading.faults;
    const bool readable = faults.empty();
    for (size_t i = 0; i < shown.size(); ++i)
      if (!shown[i].wrong.empty())
        faults.push_back({waiting.reading.picture_fields[i], "a whole picture", shown[i].wrong});
    if (readable) {
      if (const auto alike = answers_alike(row))
        faults.push_back({waiting.reading.rejected_field, alike->expected, alike->found});
      if (options_.measure && faults.empty())
        if (auto fault = length_fault(row, shown)) faults.push_back(std::move(*fault));
    }
    count(row, shown.size(), readable, !faults.empty());
    for (Fault& fault : faults) say({waiting.place, std::move(fault)});
    if (row.id.empty()) return;
    const auto [first, fresh] = ids_.try_emplace(row.id, waiting.place.row);
    if (!fresh)
      say({waiting.place,
           {"id", "an id of its own",
            "\"" + row.id + "\", row " + std::to_string(first->second) + "'s too"},
           true});
  }

  void count(const Row& row, size_t pictures, bool readable, bool wrong) {
    ++totals_.rows;
    totals_.wrong += wrong;
    totals_.pictures += pictures;
    if (!readable) return;
    totals_.turns += 1 + row.later.size();
    totals_.pairs += !row.rejected.empty();
    totals_.text_only += pictures == 0;
  }

  std::optional<Fault> length_fault(const Row& row, std::span<const Seen> shown) {
    const Measure& m = *options_.measure;
    std::vector<int> tokens;
    for (const Seen& picture : shown)
      tokens.push_back(tile_count(picture.width, picture.height, m.tiles) * m.tokens_per_tile);
    const Row* const one = &row;
    std::vector<Turn> turns = turns_of({&one, 1});
    int longest = encode_turns(m.tokenizer, m.rule, turns, tokens).length();
    if (!row.rejected.empty()) {
      turns.back().answer = row.rejected;
      longest = std::max(longest, encode_turns(m.tokenizer, m.rule, turns, tokens).length());
    }
    ++totals_.measured;
    totals_.tokens += size_t(longest);
    totals_.longest = std::max(totals_.longest, size_t(longest));
    return too_long(longest, m.max_length);
  }

  const CheckOptions& options_;
  const std::function<void(const Finding&)>& tell_;
  Threads threads_;
  std::vector<Waiting> waiting_;
  std::vector<Finding> later_;  // about the file, after its rows
  std::unordered_map<std::string, Seen> seen_;
  std::unordered_map<std::string, size_t> ids_;
  CheckTotals totals_;
};

}  // namespace

std::string Finding::text() const {
  std::string where = place.file.string();
  if (place.row > 0) where += ": row " + std::to_string(place.row);
  if (place.line > 0 && place.row > 0) where += " (line " + std::to_string(place.line) + ")";
  if (!fault.field.empty()) where += ": " + fault.field;
  return where + ": " + reason_of(fault);
}

CheckTotals check_rows(const Path& file, const CheckOptions& options,
                       const std::function<void(const Finding&)>& tell) {
  check_field_names(options.fields, file.string() + ": fields");
  Checker checker(options, tell);
  for (const RowPart& part : row_parts(file)) checker.check(part);
  return checker.totals();
}

}  // namespace revenant
