#include "base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace revenant {
namespace {

// Of the terminal at stderr.
size_t columns() {
  struct winsize size {};
  const bool told = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return told ? size.ws_col : 80;
}

}  // namespace

bool moves_the_cursor(int file) {
  const char* type = std::getenv("TERM");
  return ::isatty(file) && type && *type && std::string_view(type) != "dumb";
}

std::string duration_text(double seconds) {
  const long s = std::lround(std::max(0.0, seconds));
  char text[32];
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
  else
    std::snprintf(text, sizeof text, "%ld:%02ld", s / 60, s % 60);
  return text;
}

Progress::Progress(std::string label, std::string unit)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      terminal_(moves_the_cursor(STDERR_FILENO)),
      started_(Clock::now()) {}

Progress::~Progress() { finish(); }

void Progress::show(size_t done, size_t total, const std::string& detail) {
  const auto now = Clock::now();
  const double interval = terminal_ ? 0.1 : 10.0;
  const double since = std::chrono::duration<double>(now - last_).count();
  if (since < interval && done < total) return;
  last_ = now;
  const double elapsed = std::chrono::duration<double>(now - started_).count();
  const double share = total ? double(done) / double(total) : 0;
  const std::string left = share > 0 ? duration_text(elapsed / share - elapsed) : "?";
  const std::string counted = std::to_string(done) + "/" + std::to_string(total) + " " + unit_ +
                              ", " + left + " left" + (detail.empty() ? "" : ", " + detail);
  if (terminal_) {
    constexpr int width = 24;
    std::string bar(size_t(share * width), '#');
    bar.resize(width, '.');
    const std::string line = label_ + " [" + bar + "] " + counted;
    std::fprintf(stderr, "\r\033[K%s", line.substr(0, columns() - 1).c_str());  // on one row
    drawn_ = true;
  } else {
    std::fprintf(stderr, "%s %s\n", label_.c_str(), counted.c_str());
  }
  std::fflush(stderr);
}

void Progress::finish() {
  if (std::exchange(drawn_, false)) std::fputc('\n', stderr);
}

}  // namespace revenant
