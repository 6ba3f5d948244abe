#include "data/dataset.h"

#include "base/json.h"
#include "text/prompt.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMostBytes = 16'000'000'000;  // the largest public sets have one or two

std::string text_of(const Place& at, const Json& value) {
  if (!value.is_string()) at.fail("a string", shown(value));
  return value.get<std::string>();
}

std::string optional_text(const Place& row, const Json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? "" : text_of(row / key, *found);
}

// Some public sets number their rows.
std::string id_of(const Place& row, const Json& json) {
  const auto found = json.find("id");
  if (found != json.end() && found->is_number_integer()) return found->dump();
  return optional_text(row, json, "id");
}

Path existing_image(const Place& at, const Json& value) {
  const std::string name = text_of(at, value);
  if (name.find('\0') != name.npos) at.fail("a path", shown(value));
  const Path image = Path(at.file).parent_path() / name;
  std::error_code unreadable;
  if (!std::filesystem::is_regular_file(image, unreadable)) at.fail("a file", image.string());
  return image;
}

// What other formats show under these keys would be asked about unseen.
void check_no_other_pictures(const Place& row, const Json& json) {
  for (const char* key : {"images", "video", "videos", "audio", "audios"})
    if (const auto found = json.find(key); found != json.end() && !found->empty())
      (row / key).fail("pictures under \"image\" and nothing here", shown(*found));
}

std::vector<Path> images_of(const Place& row, const Json& json) {
  check_no_other_pictures(row, json);
  const auto found = json.find("image");
  if (found == json.end() || found->is_null()) return {};
  const Place at = row / "image";
  if (!found->is_array()) return {existing_image(at, *found)};
  std::vector<Path> images;
  for (const Json& value : *found) images.push_back(existing_image(at[images.size()], value));
  return images;
}

std::string said_by(const Place& at, const Json& message, const char* name, const char* alias) {
  if (!message.is_object() || !message.contains("from") || !message.contains("value"))
    at.fail("{\"from\", \"value\"}", shown(message));
  const std::string from = text_of(at / "from", message["from"]);
  if (from != name && from != alias)
    (at / "from").fail("\"" + std::string(name) + "\"", shown(message["from"]));
  return text_of(at / "value", message["value"]);
}

std::vector<Exchange> turns_of(const Place& row, const Json& json) {
  const Place at = row / "conversations";
  const auto found = json.find("conversations");
  static const Json nothing;
  const Json& talk = found == json.end() ? nothing : *found;
  if (!talk.is_array()) at.fail("a list", shown(talk));
  if (talk.empty() || talk.size() % 2 != 0)
    at.fail("pairs of human and gpt", std::to_string(talk.size()) + " messages");
  std::vector<Exchange> turns;
  for (size_t i = 0; i < talk.size(); i += 2) {
    turns.push_back({said_by(at[i], talk[i], "human", "user"),
                     said_by(at[i + 1], talk[i + 1], "gpt", "assistant")});
    if (turns.back().answer.empty()) (at[i + 1] / "value").fail("an answer", "\"\"");
  }
  return turns;
}

size_t marks_in(const std::vector<Exchange>& turns) {
  size_t marks = 0;
  for (const Exchange& turn : turns)
    for (size_t at = turn.question.find(image_mark); at != std::string::npos;
         at = turn.question.find(image_mark, at + image_mark.size()))
      ++marks;
  return marks;
}

Row row_of(const Place& at, const Json& json) {
  if (!json.is_object()) at.fail("an object", shown(json));
  std::vector<Exchange> turns = turns_of(at, json);
  Row row;
  row.id = id_of(at, json);
  row.images = images_of(at, json);
  if (const size_t marks = marks_in(turns); marks != row.images.size())
    (at / "conversations")
        .fail(std::to_string(row.images.size()) + " <image> marks, one a picture",
              std::to_string(marks));
  row.question = turns.front().question;
  row.answer = turns.front().answer;
  row.later.assign(turns.begin() + 1, turns.end());
  row.rejected = optional_text(at, json, "rejected");
  row.task = optional_text(at, json, "task");
  row.split = optional_text(at, json, "split");
  row.wording = optional_text(at, json, "wording");
  row.source = optional_text(at, json, "source");
  return row;
}

}  // namespace

std::vector<Row> read_rows(const Path& json, size_t limit) {
  const Place place{"data", json.string()};
  const Json list = read_json(json, place.room, kMostBytes);
  if (!list.is_array()) place.fail("a list of rows", shown(list));
  const size_t count = limit ? std::min(limit, list.size()) : list.size();
  std::vector<Row> rows;
  rows.reserve(count);
  for (size_t i = 0; i < count; ++i)
    rows.push_back(row_of(place / ("row " + std::to_string(i + 1)), list[i]));
  return rows;
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

}  // namespace revenant
