// What was typed in earlier chats: a JSON string a line, for nobody but its owner to read.
#pragma once

#include <string>
#include <vector>

#include "base/file.h"

namespace revenant {

// revenant/history under XDG_STATE_HOME, else under ~/.local/state. Throws Error without a home.
Path history_file();
// The last lines, oldest first; none where there is no file.
std::vector<std::string> read_history(const Path& file);
// Makes the file and its directory where they are missing. Throws Error.
void append_history(const Path& file, const std::string& line);

}  // namespace revenant
