// The rows of a JSON or JSONL file as slices of its text: what one row says is read by the JSON
// library, where it ends by a look at brackets and quotes, so that no file is ever held as a tree.
#pragma once

#include <functional>
#include <string_view>

#include "base/place.h"

namespace revenant {

// [{...}, ...], a line each, or one object for the whole file (one row, or a meta file).
enum class JsonForm { list, lines, object };

// Without its byte order mark.
std::string_view json_text_of(std::string_view file);
// By content, and by the file's name only where a damaged first line leaves it open. Throws Error
// if it is none of them.
JsonForm json_form(std::string_view text, const Place& file);

// take(slice of `text`) returns false for enough. Throws Error where a list does not go on.
void split_rows(std::string_view text, JsonForm form, const Place& file,
                const std::function<bool(std::string_view)>& take);

}  // namespace revenant
