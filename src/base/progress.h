// Long work shows a bar on a terminal, and nothing but lines in a log.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace revenant {

class Progress {
 public:
  // `unit` is what is counted ("rows", "steps"); the output is stderr.
  Progress(std::string label, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;

  // Redraws at most ten times a second on a terminal; in a log prints a line at most every
  // 10 seconds and at the end. `detail` is shown after the numbers.
  void show(size_t done, size_t total, const std::string& detail = "");
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_, unit_;
  bool terminal_, drawn_ = false;
  Clock::time_point started_, last_;
};

std::string duration_text(double seconds);  // "1:02:03" or "2:03"

// It is a terminal, and the variable TERM says that it does more than print line after line.
bool moves_the_cursor(int file);

}  // namespace revenant
