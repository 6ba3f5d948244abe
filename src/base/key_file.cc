#include "base/key_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <sstream>

#include "base/error.h"

namespace revenant {

void check_key(std::string_view key, const std::string& room) {
  const auto visible = [](char c) { return c > ' ' && c < 0x7f; };
  if (key.empty() || key.size() > 1024 || !std::ranges::all_of(key, visible))
    throw Error(room, "API key", "1 to 1,024 visible ASCII characters", "something else");
}

std::vector<std::string> read_key_file(const Path& file, const std::string& room) {
  const std::string text = read_file(file);
  struct stat about {};
  if (::stat(file.c_str(), &about) != 0 || (about.st_mode & 077) != 0)
    throw Error(room, file.string(), "a file of keys that its owner alone may read (chmod 600)",
                "one that others may");
  std::vector<std::string> keys;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    while (line.ends_with('\r') || line.ends_with(' ')) line.pop_back();
    if (line.empty() || line[0] == '#') continue;
    check_key(line, room);
    keys.push_back(line);
  }
  if (keys.empty()) throw Error(room, file.string(), "a key a line", "none");
  return keys;
}

}  // namespace revenant
