#include "data/json_rows.h"

#include <algorithm>

#include "base/json.h"

namespace revenant {
namespace {

constexpr std::string_view spaces = " \t\r\n";

size_t next(std::string_view text, size_t at) {
  return std::min(text.find_first_not_of(spaces, at), text.size());
}

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(next(text, 0));
  return text.substr(0, text.find_last_not_of(spaces) + 1);
}

// Where the value that begins at `at` ends: before a comma or a bracket that is not its own.
size_t value_end(std::string_view text, size_t at) {
  size_t open = 0;
  for (; at < text.size(); ++at) switch (text[at]) {
      case '"':
        for (++at; at < text.size() && text[at] != '"'; ++at) at += text[at] == '\\';
        break;
      case '{':
      case '[':
        ++open;
        break;
      case '}':
      case ']':
        if (open == 0) return at;
        --open;
        break;
      case ',':
        if (open == 0) return at;
        break;
      default:
        break;
    }
  return text.size();
}

// The end of the object that begins there; npos: it has none.
size_t object_end(std::string_view text, size_t at) {
  const size_t end = value_end(text, at);
  const std::string_view object = trimmed(text.substr(at, end - at));
  return end < text.size() || object.ends_with('}') ? at + object.size() : text.npos;
}

void split_list(std::string_view text, const Place& file,
                const std::function<bool(std::string_view)>& take) {
  size_t at = next(text, next(text, 0) + 1);
  while (at < text.size() && text[at] != ']') {
    const size_t end = value_end(text, at);
    if (!take(trimmed(text.substr(at, end - at)))) return;
    at = end;
    if (at == text.size() || text[at] != ',') break;
    at = next(text, at + 1);
    if (at < text.size() && text[at] == ']') file.fail("a row after the last comma", "]");
  }
  if (at == text.size() || text[at] != ']')
    file.fail("] after the last row", at == text.size() ? "the end of the file" : "}");
  if (next(text, at + 1) < text.size())
    file.fail("nothing after the ] of the list", shown(text.substr(next(text, at + 1), 40)));
}

}  // namespace

std::string_view json_text_of(std::string_view file) {
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (file.starts_with(byte_order_mark)) file.remove_prefix(byte_order_mark.size());
  return file;
}

JsonForm json_form(std::string_view text, const Place& file) {
  const bool named_lines = file.file.ends_with(".jsonl") || file.file.ends_with(".ndjson");
  const size_t first = next(text, 0);
  if (first == text.size() && !named_lines)
    file.fail("rows of JSON, JSONL or Parquet", "an empty file");
  if (first == text.size() || (text[first] != '[' && text[first] != '{')) {
    if (named_lines) return JsonForm::lines;
    file.fail("rows of JSON, JSONL or Parquet", shown(text.substr(first, 40)));
  }
  if (text[first] == '[') return JsonForm::list;
  const std::string_view line = text.substr(0, text.find('\n', first));
  const bool whole_line = object_end(line, first) != text.npos;
  if (!whole_line && named_lines) return JsonForm::lines;
  const size_t end = whole_line ? line.size() : object_end(text, first);
  return end == text.npos || next(text, end) < text.size() ? JsonForm::lines : JsonForm::object;
}

void split_rows(std::string_view text, JsonForm form, const Place& file,
                const std::function<bool(std::string_view)>& take) {
  if (form == JsonForm::list) return split_list(text, file, take);
  if (form == JsonForm::object) return void(take(trimmed(text)));
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = trimmed(text.substr(at, end - at));
    if (!line.empty() && !take(line)) return;
    at = end + 1;
  }
}

}  // namespace revenant
