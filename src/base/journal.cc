#include "base/journal.h"

#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/json.h"

namespace revenant {

using nlohmann::json;

Journal::Journal(const Path& file, const json& run, const JournalOptions& options,
                 const TakeLine& take)
    : file_(file), options_(options) {
  const auto fail = [&](const char* expected, const std::string& found) {
    throw Error(options_.room, file.string(), expected, found);
  };
  if (std::filesystem::exists(file) && !std::filesystem::is_regular_file(file))
    fail("a regular file", "something else");
  out_.reset(std::fopen(file.c_str(), "ab"));
  if (!out_) fail("a file to write", std::strerror(errno));
  if (::flock(::fileno(out_.get()), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    fail("no other run that writes it", "one");
  std::string text = read_file(file);
  const size_t whole = text.rfind('\n') + 1;  // npos + 1 is 0
  if (whole < text.size()) std::filesystem::resize_file(file, whole);
  text.resize(whole);
  read(text, run, take);
  if (text.empty()) add({{"run", run}});
}

void Journal::read(std::string_view text, const json& run, const TakeLine& take) const {
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const Place place{options_.room, file_.string() + ":" + std::to_string(number)};
    const json line = parse_json(text.substr(0, end), place);
    text.remove_prefix(end + 1);
    number == 1 ? check_run(line, run) : take(line, place);
  }
}

void Journal::check_run(const json& line, const json& run) const {
  const json before = line.is_object() ? line.value("run", json()) : json();
  for (const auto& [key, value] : run.items())
    if (!before.contains(key) || before[key] != value)
      throw Error(options_.room, file_.string() + " " + key, json_text(value) + ", as now",
                  before.contains(key) ? json_text(before[key]) : "nothing");
}

void Journal::add(const json& line) {
  const std::string text = json_text(line) + "\n";
  if (std::fwrite(text.data(), 1, text.size(), out_.get()) != text.size() ||
      std::fflush(out_.get()) != 0 || (options_.durable && ::fdatasync(::fileno(out_.get())) != 0))
    throw Error(options_.room, file_.string(), "a line more", std::strerror(errno));
}

}  // namespace revenant
