#include "data/dataset.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/prompt.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

// Where we are, for messages.
struct Place {
  const Path& file;
  size_t row;
};

[[noreturn]] void fail(const Place& at, const std::string& key, const std::string& expected,
                       const std::string& found) {
  throw Error("data", at.file.string() + ": row " + std::to_string(at.row) + ": " + key, expected,
              found);
}

std::string shown(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

std::string text_of(const Place& at, const std::string& key, const Json& value) {
  if (!value.is_string()) fail(at, key, "a string", shown(value));
  return value.get<std::string>();
}

std::string optional_text(const Place& at, const Json& row, const char* key) {
  const auto found = row.find(key);
  return found == row.end() || found->is_null() ? "" : text_of(at, key, *found);
}

// Some public sets number their rows.
std::string id_of(const Place& at, const Json& row) {
  const auto found = row.find("id");
  if (found != row.end() && found->is_number_integer()) return found->dump();
  return optional_text(at, row, "id");
}

Path existing_image(const Place& at, const Json& value) {
  const Path image = at.file.parent_path() / text_of(at, "image", value);
  if (!std::filesystem::is_regular_file(image)) fail(at, "image", "a file", image.string());
  return image;
}

std::vector<Path> images_of(const Place& at, const Json& row) {
  const auto found = row.find("image");
  if (found == row.end() || found->is_null()) return {};
  if (!found->is_array()) return {existing_image(at, *found)};
  std::vector<Path> images;
  for (const Json& value : *found) images.push_back(existing_image(at, value));
  return images;
}

std::string said_by(const Place& at, const Json& message, const char* name, const char* alias) {
  if (!message.is_object() || !message.contains("from") || !message.contains("value"))
    fail(at, "conversations", "{\"from\", \"value\"}", shown(message));
  const std::string from = text_of(at, "conversations: from", message["from"]);
  if (from != name && from != alias)
    fail(at, "conversations: from", "\"" + std::string(name) + "\"", "\"" + from + "\"");
  return text_of(at, "conversations: value", message["value"]);
}

std::vector<Exchange> turns_of(const Place& at, const Json& row) {
  const Json& talk = row.contains("conversations") ? row["conversations"] : Json();
  if (!talk.is_array()) fail(at, "conversations", "a list", shown(talk));
  if (talk.empty() || talk.size() % 2 != 0)
    fail(at, "conversations", "pairs of human and gpt", std::to_string(talk.size()) + " messages");
  std::vector<Exchange> turns;
  for (size_t i = 0; i < talk.size(); i += 2) {
    turns.push_back(
        {said_by(at, talk[i], "human", "user"), said_by(at, talk[i + 1], "gpt", "assistant")});
    if (turns.back().answer.empty()) fail(at, "conversations: value", "an answer", "\"\"");
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
  if (!json.is_object()) fail(at, "row", "an object", shown(json));
  std::vector<Exchange> turns = turns_of(at, json);
  Row row;
  row.id = id_of(at, json);
  row.images = images_of(at, json);
  if (const size_t marks = marks_in(turns); marks != row.images.size())
    fail(at, "conversations", std::to_string(row.images.size()) + " <image> marks, one a picture",
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

Json parse(const Path& file) {
  try {
    return Json::parse(MappedFile(file).text());
  } catch (const Json::exception& error) {
    throw Error("data", file.string(), json_reason(error.what()));
  }
}

}  // namespace

std::vector<Row> read_rows(const Path& json) {
  const Json list = parse(json);
  if (!list.is_array()) throw Error("data", json.string(), "a list of rows", shown(list));
  std::vector<Row> rows;
  rows.reserve(list.size());
  for (const Json& row : list) rows.push_back(row_of({json, rows.size() + 1}, row));
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
