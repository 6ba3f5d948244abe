#include "base/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace revenant {

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
      terminal_(isatty(STDERR_FILENO)),
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
  if (terminal_) {
    constexpr int width = 24;
    std::string bar(size_t(share * width), '#');
    bar.resize(width, '.');
    std::fprintf(stderr, "\r\033[K%s [%s] %zu/%zu %s, %s left%s%s", label_.c_str(), bar.c_str(),
                 done, total, unit_.c_str(), left.c_str(), detail.empty() ? "" : ", ",
                 detail.c_str());
    drawn_ = true;
  } else {
    std::fprintf(stderr, "%s %zu/%zu %s, %s left%s%s\n", label_.c_str(), done, total, unit_.c_str(),
                 left.c_str(), detail.empty() ? "" : ", ", detail.c_str());
  }
  std::fflush(stderr);
}

void Progress::finish() {
  if (std::exchange(drawn_, false)) std::fputc('\n', stderr);
}

}  // namespace revenant
