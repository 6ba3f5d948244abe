// What the two programs do alike: parse, run, and end with an exit code. Results go to stdout, all
// else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 130, 141 and 143 after SIGINT,
// SIGPIPE and SIGTERM.
#pragma once

#include <CLI/CLI.hpp>
#include <exception>
#include <functional>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/progress.h"

namespace revenant {

// What an exception has to say to a user, in one line or more.
std::string reason_of(const std::exception& error);

// Whatever a file put into a message, it stays one line without control characters.
std::string one_line(std::string message);

// Writes what a model said to stdout: into files and pipes as it is, to a terminal without control
// characters, so that no answer can move its cursor, clear it or set its title.
void say(std::string_view text);

// For options that are paths: shells leave a ~ after an = alone. An empty one is wrong usage.
std::string at_home(const std::string& path);

// Where to write a file that somebody named: what a link leads to, be it there or not.
Path through_links(Path path);

// For commands that end in order: from here on the first SIGINT or SIGTERM is only kept, a second
// one ends the program at once.
void catch_signals();
int caught_signal();       // 0: none
void exit_if_signalled();  // throws Exit with its code

// Tells how much of a large file is written, and ends the program in order once a signal was
// caught.
std::function<void(uint64_t done, uint64_t total)> show_megabytes(Progress& progress);

// `reason` may know more kinds of exception than reason_of. Errors become one line on stderr;
// output that could not be written is one. Where a command does not catch them, SIGINT, SIGPIPE and
// SIGTERM end the program at once, and what stands under a temporary name goes.
int run_program(CLI::App& app, int argc, char** argv,
                std::string (*reason)(const std::exception&) = reason_of);

}  // namespace revenant
