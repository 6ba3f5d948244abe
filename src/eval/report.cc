#include "eval/report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "eval/score.h"
#include "text/letter_case.h"

namespace revenant {
namespace {

void add(Tally& tally, const Row& row, const Prediction& prediction, const Majorities& majorities) {
  if (!prediction.failure.empty()) {
    ++tally.failed;
    return;
  }
  ++tally.rows;
  tally.right += is_right(row, prediction);
  tally.unparsed += normalised(prediction.text).empty() || !prediction.stopped;
  const auto majority = majorities.find({row.source, row.task});
  if (majority == majorities.end())
    tally.majority.reset();
  else if (tally.majority)
    *tally.majority += majority->second == normalised(row.answer);
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", 100 * share);
  return text;
}

int64_t total(const Tally& tally) { return tally.rows + tally.failed; }

double share(int64_t part, int64_t of) { return of ? double(part) / double(of) : 0; }

using Cells = std::vector<std::string>;

Cells cells(const Group& group, bool with_failed) {
  const auto& [key, t] = group;
  const auto shown = [](const std::string& name) { return name.empty() ? "all" : name; };
  const Interval interval = wilson(t.right, t.rows);
  Cells all = {shown(key.source),
               shown(key.split),
               shown(key.task),
               shown(key.wording),
               std::to_string(t.rows),
               percent(share(t.right, t.rows)) + " %",
               percent(interval.low) + " to " + percent(interval.high),
               t.majority ? percent(share(*t.majority, t.rows)) + " %" : "-",
               std::to_string(t.unparsed)};
  if (with_failed) all.push_back(std::to_string(t.failed));
  return all;
}

constexpr size_t names = 4;  // columns at the left edge; numbers stand at the right one

std::string line(const Cells& row, const std::vector<size_t>& widths) {
  std::string text;
  for (size_t i = 0; i < row.size(); ++i) {
    const std::string gap(widths[i] - row[i].size(), ' ');
    text += (i ? "  " : "") + (i < names ? row[i] + gap : gap + row[i]);
  }
  return text + "\n";
}

}  // namespace

bool is_right(const Row& row, const Prediction& prediction) {
  return normalised(prediction.text) == normalised(row.answer);
}

Majorities majority_answers(std::span<const Row> rows) {
  std::map<std::pair<std::string, std::string>, std::map<std::string, int64_t>> counts;
  for (const Row& row : rows) ++counts[{row.source, row.task}][normalised(row.answer)];
  Majorities majorities;
  for (const auto& [kind, answers] : counts)
    majorities[kind] = std::max_element(answers.begin(), answers.end(), [](auto& a, auto& b) {
                         return a.second < b.second;
                       })->first;
  return majorities;
}

std::vector<Group> tally(std::span<const Row> rows, std::span<const Prediction> predictions,
                         const Majorities& majorities) {
  CHECK(rows.size() == predictions.size());
  std::map<GroupKey, Tally> tallies;
  std::map<GroupKey, GroupKey> around;  // the next coarser group
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& r = rows[i];
    const GroupKey path[] = {{},
                             {r.source, "", "", ""},
                             {r.source, r.split, "", ""},
                             {r.source, r.split, r.task, ""},
                             {r.source, r.split, r.task, r.wording}};
    for (size_t level = 0; level < std::size(path); ++level) {
      if (level > 0 && path[level] == path[level - 1]) continue;
      add(tallies[path[level]], r, predictions[i], majorities);
      if (level > 0) around[path[level]] = path[level - 1];
    }
  }
  std::set<GroupKey> repeated;  // by a finer group with all of its rows
  for (const auto& [fine, coarse] : around)
    if (total(tallies[fine]) == total(tallies[coarse])) repeated.insert(coarse);
  std::vector<Group> groups;
  for (const auto& [key, t] : tallies)
    if (!repeated.contains(key)) groups.push_back({key, t});
  return groups;
}

std::string failure_note(std::span<const Prediction> predictions) {
  const auto failed = [](const Prediction& p) { return !p.failure.empty(); };
  const auto first = std::ranges::find_if(predictions, failed);
  if (first == predictions.end()) return "";
  return std::to_string(std::ranges::count_if(predictions, failed)) + " of " +
         std::to_string(predictions.size()) +
         " rows have no answer and are left out, the first of them row " +
         std::to_string(first - predictions.begin() + 1) + ": " + first->failure;
}

std::string table_text(std::span<const Group> groups) {
  std::vector<Cells> rows = {
      {"source", "split", "task", "wording", "rows", "accuracy", "95 %", "majority", "unparsed"}};
  const bool failed =
      std::ranges::any_of(groups, [](const Group& g) { return g.tally.failed > 0; });
  if (failed) rows[0].push_back("failed");
  for (const Group& group : groups) rows.push_back(cells(group, failed));
  std::vector<size_t> widths(rows[0].size(), 0);
  for (const Cells& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const Cells& row : rows) text += line(row, widths);
  return text;
}

nlohmann::json table_json(std::span<const Group> groups) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [key, t] : groups) {
    const Interval interval = wilson(t.right, t.rows);
    nlohmann::json majority = nullptr;
    if (t.majority) majority = share(*t.majority, t.rows);
    list.push_back({{"source", key.source},
                    {"split", key.split},
                    {"task", key.task},
                    {"wording", key.wording},
                    {"rows", t.rows},
                    {"right", t.right},
                    {"accuracy", share(t.right, t.rows)},
                    {"low", interval.low},
                    {"high", interval.high},
                    {"majority", majority},
                    {"unparsed", t.unparsed},
                    {"failed", t.failed}});
  }
  return list;
}

}  // namespace revenant
