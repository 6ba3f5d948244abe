#include "triples/review.h"

#include <filesystem>
#include <map>

#include "base/json.h"
#include "text/letter_case.h"

namespace revenant {

using nlohmann::json;

namespace {

constexpr uint64_t most_bytes = 10'000'000'000;

std::string text_at(const json& entry, const char* key, const Place& place) {
  const auto found = entry.find(key);
  if (found == entry.end() || !found->is_string())
    (place / key).fail("a text", found == entry.end() ? "nothing" : shown(*found));
  return found->get<std::string>();
}

size_t row_at(const json& entry, const Place& place, std::span<const Row> rows) {
  const json row = entry.value("row", json());
  if (!row.is_number_unsigned() || row.get<size_t>() < 1 || row.get<size_t>() > rows.size())
    (place / "row").fail("a row from 1 to " + std::to_string(rows.size()), shown(row));
  const size_t index = row.get<size_t>() - 1;
  const std::string& question = rows[index].last_question();
  const std::string found = text_at(entry, "question", place);
  if (json_text(found) != json_text(question))
    (place / "question").fail("that of row " + std::to_string(index + 1), shown(found));
  return index;
}

}  // namespace

std::string review_text(std::span<const Row> rows, std::span<const Open> open, const Path& before,
                        const std::function<bool(size_t row, const std::string&)>& tried) {
  std::map<size_t, json> entries;  // of `before`, by row counted from 1
  if (std::filesystem::exists(before))
    for (json& entry : read_json(before, "triples", most_bytes))
      if (entry.is_object() && entry.value("row", json()).is_number_unsigned()) {
        const size_t row = entry["row"].get<size_t>();
        entries[row] = std::move(entry);
      }
  const auto by_person = [&](size_t index) {
    const auto it = entries.find(index + 1);
    if (it == entries.end() || it->second.value("question", json()) != rows[index].last_question())
      return false;
    const json rejected = it->second.value("rejected", json());
    return it->second.value("verdict", json("")) != "" ||
           (rejected.is_string() && !tried(index, rejected.get<std::string>()));
  };
  json list = json::array();
  for (const auto& [index, standing] : open) {
    if (by_person(index)) {
      list.push_back(entries.at(index + 1));
      continue;
    }
    const Row& row = rows[index];
    json entry = {{"row", index + 1},
                  {"question", row.last_question()},
                  {"answer", row.last_answer()},
                  {"rejected", standing.rejected},
                  {"why", standing.why},
                  {"verdict", ""}};
    if (!row.id.empty()) entry["id"] = row.id;
    for (const Picture& picture : row.images) entry["pictures"].push_back(picture.name());
    list.push_back(std::move(entry));
  }
  for (auto it = entries.upper_bound(rows.size()); it != entries.end(); ++it)
    list.push_back(it->second);
  return list.empty() ? "" : json_text(list, 1) + "\n";
}

std::vector<Reviewed> read_review(const Path& file, std::span<const Row> rows, bool more) {
  const json list = read_json(file, "triples", most_bytes);
  const Place whole{"triples", file.string()};
  if (!list.is_array()) whole.fail("a list", shown(list));
  std::vector<Reviewed> said;
  for (size_t i = 0; i < list.size(); ++i) {
    const Place place = whole[i];
    if (!list[i].is_object()) place.fail("an object", shown(list[i]));
    const std::string verdict = text_at(list[i], "verdict", place);
    if (verdict.empty()) continue;
    if (verdict != "keep" && verdict != "drop")
      (place / "verdict").fail("\"keep\", \"drop\" or \"\"", shown(verdict));
    const json number = list[i].value("row", json());
    if (more && number.is_number_unsigned() && number.get<size_t>() > rows.size()) continue;
    const size_t row = row_at(list[i], place, rows);
    const std::string rejected = text_at(list[i], "rejected", place), same = normalised(rejected);
    if (verdict == "keep" && (same.empty() || same == normalised(rows[row].last_answer())))
      (place / "rejected").fail("a wrong answer", same.empty() ? "a blank one" : "the right one");
    said.push_back({row, {verdict == "keep", rejected}});
  }
  return said;
}

}  // namespace revenant
