// Programs that a test runs.
#pragma once

#include <cstdio>
#include <string>
#include <utility>

namespace revenant {

// What a shell's command prints, and 0 where it went well.
inline std::pair<std::string, int> output_of(const std::string& command) {
  std::string text;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (!pipe) return {"", -1};
  for (char part[4096]; const size_t n = std::fread(part, 1, sizeof part, pipe);)
    text.append(part, n);
  return {text, ::pclose(pipe)};
}

// The python of .venv (tools/install.sh test).
inline const std::string venv_python = REVENANT_SOURCE_DIR "/.venv/bin/python";

}  // namespace revenant
