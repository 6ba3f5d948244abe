// What the two programs do alike: parse, run, and end with an exit code. Results go to stdout, all
// else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage.
#pragma once

#include <CLI/CLI.hpp>
#include <exception>
#include <string>

namespace revenant {

// What an exception has to say to a user, in one line or more.
std::string reason_of(const std::exception& error);

// `reason` may know more kinds of exception than reason_of. Errors become one line on stderr;
// output that could not be written is one.
int run_program(CLI::App& app, int argc, char** argv,
                std::string (*reason)(const std::exception&) = reason_of);

}  // namespace revenant
