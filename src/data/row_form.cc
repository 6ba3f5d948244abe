#include "data/row_form.h"

#include <algorithm>

#include "base/base64.h"
#include "base/json.h"
#include "data/row_talk.h"
#include "text/prompt.h"
#include "text/unicode.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

constexpr const char* known_fields[] = {
    "id",     "image",    "images",  "conversations", "messages",
    "prompt", "question", "answer",  "chosen",        "rejected",
    "task",   "split",    "wording", "source",        "rejected_response"};

std::string optional_text(const RowFields& row, const char* key) {
  const auto found = row.find(key);
  return found ? found->text() : "";
}

// Some public sets number their rows.
std::string id_of(const RowFields& row) {
  const auto found = row.find("id");
  return found && found->value->is_number_integer() ? found->value->dump()
                                                    : optional_text(row, "id");
}

// What would be asked about unseen, or without the means that the answers use.
void check_nothing_else(const Json& row) {
  for (const char* key : {"video", "videos", "audio", "audios", "tools"})
    if (const auto found = row.find(key); found != row.end() && !found->empty())
      throw Fault{key, "nothing: only pictures are shown, and no tools called", shown(*found)};
}

bool is_data_uri(const std::string& name) { return name.starts_with("data:"); }

std::string decoded_base64(std::string_view text) {
  std::optional<std::string> bytes = bytes_of_base64(text);
  if (!bytes || bytes->empty()) throw Fault{"", "a picture in base64", "something else"};
  return std::move(*bytes);
}

Picture file_at(const At& at, const std::string& name, const Path& folder) {
  if (name.find('\0') != name.npos) at.fail("a path");
  if (name.starts_with("http://") || name.starts_with("https://"))
    at.fail("a file: nothing is fetched");
  const Path image = folder / expand_home(name);
  std::error_code unreadable;
  if (!std::filesystem::is_regular_file(image, unreadable)) at.field.fail("a file", image.string());
  return image;
}

// A path, a data: URI, bytes, or the {bytes, path} of Hugging Face's `datasets`.
Picture picture_at(const At& at, const RowSource& source) {
  const Json& value = *at.value;
  const auto has = [&](const char* key) {
    return value.is_object() && value.contains(key) && !value.at(key).is_null();
  };
  if (has("bytes")) return picture_at(at / "bytes", source);
  if (has("path")) return picture_at(at / "path", source);
  const Picture::Inside inside{source.at, source.size, at.field.pointer().to_string()};
  if (value.is_binary()) return {source.file, inside};
  const std::string name = at.text();
  if (is_data_uri(name)) return {source.file, inside};
  return file_at(at, name, source.folder);
}

// The row's pictures, in the order of their marks.
std::vector<At> shown_in(const RowFields& row, const RowTalk& talk) {
  const auto one = row.find("image"), several = row.find("images");
  const bool both = one && several && !several->value->empty();
  if (both) several->fail("nothing here, where there is " + one->field.text());
  const auto listed = one ? one : several;
  if (!listed) return talk.pictures;
  std::vector<At> shown;
  if (!listed->value->is_array())
    shown.push_back(*listed);
  else
    for (size_t i = 0; i < listed->value->size(); ++i) shown.push_back((*listed)[i]);
  if (!shown.empty() && !talk.pictures.empty())
    listed->fail("nothing here, where content parts bring their pictures");
  return shown.empty() ? talk.pictures : shown;
}

size_t marks_in(const std::vector<Exchange>& turns) {
  size_t marks = 0;
  for (const Exchange& turn : turns)
    for (size_t at = turn.question.find(image_mark); at != std::string::npos;
         at = turn.question.find(image_mark, at + image_mark.size()))
      ++marks;
  return marks;
}

std::string marks(size_t count) {
  std::string text;
  for (; count > 0; --count) text += image_mark;
  return text + "\n";
}

bool blank(const std::string& text) { return strip(text).empty(); }

// `work` adds to the row; what is wrong there is one more fault.
void attempt(RowReading& reading, const auto& work) {
  try {
    work();
  } catch (Fault& fault) {
    reading.faults.push_back(std::move(fault));
  }
}

void take_talk(RowReading& reading, RowTalk talk) {
  Row& row = reading.row;
  for (size_t i = 0; i < talk.turns.size(); ++i)
    if (blank(talk.turns[i].answer))
      reading.faults.push_back({talk.answers[i].text(), "an answer", shown(talk.turns[i].answer)});
  if (talk.rejected_at) reading.rejected_field = talk.rejected_at->text();
  if (talk.rejected_at && blank(talk.rejected))
    reading.faults.push_back({reading.rejected_field, "an answer", shown(talk.rejected)});
  row.question = std::move(talk.turns.front().question);
  row.answer = std::move(talk.turns.front().answer);
  row.later.assign(std::make_move_iterator(talk.turns.begin() + 1),
                   std::make_move_iterator(talk.turns.end()));
  row.rejected = std::move(talk.rejected);
}

}  // namespace

RowReading read_row(const Json& json, const RowSource& source) {
  RowReading reading;
  Row& row = reading.row;
  attempt(reading, [&] {
    if (!json.is_object()) throw Fault{"", "an object", shown(json)};
    const RowFields fields{json, source.fields};
    RowTalk talk = read_talk(fields);
    row.id = id_of(fields);
    check_nothing_else(json);
    const std::vector<At> shown = shown_in(fields, talk);
    for (const At& at : shown)
      attempt(reading, [&] {
        row.images.push_back(picture_at(at, source));
        reading.picture_fields.push_back(at.field.text());
      });
    const size_t marked = marks_in(talk.turns);
    if (marked == 0 && !shown.empty() && !talk.marks_itself)
      talk.turns.front().question.insert(0, marks(shown.size()));
    else if (marked != shown.size())
      reading.faults.push_back({talk.at.text(),
                                std::to_string(shown.size()) + " <image> marks, one a picture",
                                std::to_string(marked)});
    take_talk(reading, std::move(talk));
    row.task = optional_text(fields, "task");
    row.split = optional_text(fields, "split");
    row.wording = optional_text(fields, "wording");
    row.source = optional_text(fields, "source");
  });
  return reading;
}

std::string picture_bytes(const Json& value) {
  if (value.is_binary()) return {value.get_binary().begin(), value.get_binary().end()};
  const std::string text = value.get<std::string>();
  const size_t comma = text.find(',');
  if (!std::string_view(text).substr(0, comma).ends_with(";base64"))
    throw Fault{"", "data:image/...;base64,...", shown(value)};
  return decoded_base64(std::string_view(text).substr(comma + 1));
}

void check_field_names(const FieldNames& fields, const std::string& subject) {
  std::string all;
  for (const char* known : known_fields) all += (all.empty() ? "" : ", ") + std::string(known);
  for (const auto& [ours, theirs] : fields)
    if (std::ranges::find(known_fields, ours) == std::end(known_fields))
      throw Error("data", subject + ": " + ours, "one of " + all, "an unknown field");
}

}  // namespace revenant
