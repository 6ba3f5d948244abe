// Runs the built program as a user would.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "base/file.h"

namespace revenant {

struct Outcome {
  int code = -1;  // exit code; -1: killed by a signal
  std::string out, err;
  long peak_kb = 0;  // resident
};

// In `place`, which must exist: what goes in lies there in the file stdin, what comes out in stdout
// and stderr.
inline pid_t start_program(const Path& place, const std::vector<std::string>& arguments,
                           const std::string& input = "",
                           const Path& program = Path(REVENANT_BIN_DIR) / "revenant") {
  write_file(place / "stdin", input);
  std::vector<std::string> words = {program.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const auto path = [&](const char* name) { return (place / name).string(); };
  const std::string in = path("stdin"), out = path("stdout"), err = path("stderr");
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("cannot run " + words[0]);
  if (child == 0) {
    ::dup2(::open(in.c_str(), O_RDONLY), STDIN_FILENO);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  return child;
}

// Waits for its end.
inline Outcome outcome_of(const Path& place, pid_t child) {
  int status = 0;
  struct rusage usage {};
  if (::wait4(child, &status, 0, &usage) != child)
    throw std::runtime_error("cannot wait for a program");
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(place / "stdout"),
          read_file(place / "stderr"), usage.ru_maxrss};
}

inline Outcome run_program(const Path& place, const std::vector<std::string>& arguments,
                           const std::string& input = "",
                           const Path& program = Path(REVENANT_BIN_DIR) / "revenant") {
  return outcome_of(place, start_program(place, arguments, input, program));
}

}  // namespace revenant
