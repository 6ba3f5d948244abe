#include "cli/history.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "base/error.h"
#include "base/json.h"

namespace revenant {
namespace {

constexpr size_t kept = 1000;  // lines; the file is cut to them when it has twice as many
constexpr mode_t own_file = 0600, own_directory = 0700;  // XDG base directories, 0.8

void make_directories(const Path& directory) {
  if (directory.empty() || std::filesystem::is_directory(directory)) return;
  make_directories(directory.parent_path());
  if (::mkdir(directory.c_str(), own_directory) != 0 && errno != EEXIST)
    throw Error("history", directory.string(),
                std::string("cannot create: ") + std::strerror(errno));
}

std::string written(const std::string& line) { return json_text(line) + "\n"; }

std::string read(const std::string& line) {
  if (!line.starts_with('"')) return line;  // written by hand
  const nlohmann::json value = nlohmann::json::parse(line, nullptr, false);
  return value.is_string() ? value.get<std::string>() : line;
}

}  // namespace

Path history_file() {
  const char* set = std::getenv("XDG_STATE_HOME");
  const Path state = set && *set == '/' ? Path(set) : expand_home("~/.local/state");
  return state / "revenant" / "history";
}

std::vector<std::string> read_history(const Path& file) {
  if (!std::filesystem::exists(file)) return {};
  std::vector<std::string> lines;
  std::istringstream text(read_file(file));
  for (std::string line; std::getline(text, line);) lines.push_back(read(line));
  if (lines.size() > 2 * kept) {
    lines.erase(lines.begin(), lines.end() - kept);
    std::string rest;
    for (const std::string& line : lines) rest += written(line);
    write_file(file, rest, own_file);
  }
  return lines;
}

void append_history(const Path& file, const std::string& line) {
  make_directories(file.parent_path());
  const int fd = ::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, own_file);
  const std::string text = written(line);
  // One write: chats at the same time do not cut each other's lines.
  const bool done = fd >= 0 && ::fchmod(fd, own_file) == 0 &&
                    ::write(fd, text.data(), text.size()) == ssize_t(text.size());
  const int reason = errno;
  if (fd >= 0) ::close(fd);
  if (!done)
    throw Error("history", file.string(), std::string("cannot write: ") + std::strerror(reason));
}

}  // namespace revenant
