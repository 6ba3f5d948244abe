#include "cli/program.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <new>
#include <utility>

#include "base/error.h"
#include "base/temporary_files.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "text/unicode.h"

namespace revenant {
namespace {

int parsed(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const Exit& exit) {
    return exit.code;
  }
  return 0;
}

// A stream that the caller closed stays one that fails: its number must not become a file's.
void open_closed_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

void end_by(int number) {
  temporary_files::remove_all();
  terminal::restore();
  _exit(128 + number);
}

std::atomic<int> caught{0};
void keep_first(int number) {
  if (caught.exchange(number)) end_by(number);
}

int fail(const CLI::App& app, const std::string& message) {
  std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), one_line(message).c_str());
  return 1;
}

}  // namespace

std::string one_line(std::string message) {
  for (char& c : message)
    if (uint8_t(c) < 0x20 || c == 0x7f) c = ' ';
  return message;
}

void say(std::string_view text) {
  const std::string shown = ::isatty(STDOUT_FILENO) ? without_controls(text) : std::string(text);
  std::fwrite(shown.data(), 1, shown.size(), stdout);
  std::fflush(stdout);
}

std::string reason_of(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error)) return "[memory] allocation: not enough memory";
  return json_reason(error.what());
}

std::string at_home(const std::string& path) {
  if (path.empty()) throw CLI::ValidationError("expected a path, found an empty one");
  return expand_home(path).string();
}

Path through_links(Path path) {
  constexpr int most = 40;  // as the system
  for (int links = 0; links <= most; ++links) {
    std::error_code no_link, round;
    const Path next = std::filesystem::read_symlink(path, no_link);
    // A pipe's link leads to no name.
    if (no_link || std::filesystem::is_other(path, round)) return path;
    path = next.is_absolute() ? next : path.parent_path() / next;
  }
  throw Error("cli", path.string(), "a file to write", "links that go round");
}

void catch_signals() {
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, keep_first);
}

int caught_signal() { return caught; }

void exit_if_signalled() {
  if (caught) throw Exit{128 + caught};
}

std::function<void(uint64_t, uint64_t)> show_megabytes(Progress& progress) {
  return [&progress, shown = uint64_t(0)](uint64_t done, uint64_t total) mutable {
    constexpr uint64_t megabyte = 1'000'000;
    exit_if_signalled();
    if (std::exchange(shown, done / megabyte) != done / megabyte)
      progress.show(done / megabyte, total / megabyte);
  };
}

int run_program(CLI::App& app, int argc, char** argv,
                std::string (*reason)(const std::exception&)) {
  open_closed_streams();
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, end_by);
  // Nobody reads any more. Whoever had it ignored finds a write that fails.
  if (std::signal(SIGPIPE, end_by) == SIG_IGN) std::signal(SIGPIPE, SIG_IGN);
  int code = 0;
  try {
    code = parsed(app, argc, argv);
  } catch (const std::exception& error) {
    code = fail(app, reason(error));
  }
  // A flush on the way may have failed; only ferror still knows.
  const bool lost = std::fflush(stdout) != 0 || std::ferror(stdout);
  return lost && code == 0 ? fail(app, "[cli] stdout: cannot write all of the output") : code;
}

}  // namespace revenant
