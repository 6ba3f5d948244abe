// revenant: the program. Results go to stdout, everything else to stderr. Exit codes: 0 done,
// 1 failed, 2 wrong usage, 130 and 143 after SIGINT and SIGTERM.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <new>

#include "cli/commands.h"

namespace revenant {
namespace {

constexpr void (*commands[])(CLI::App&) = {
    add_run,  add_chat,  add_eval,        add_inspect, add_tokenize, add_tiles,
    add_data, add_trace, add_conformance, add_synth,   add_view,     add_train,
};

// Whatever a file put into the message, it stays one line without control characters.
int fail(std::string message) {
  for (char& c : message)
    if (uint8_t(c) < 0x20 || c == 0x7f) c = ' ';
  std::fprintf(stderr, "revenant: %s\n", message.c_str());
  return 1;
}

int run(int argc, char** argv) {
  CLI::App app("Vision-language models Phantom and TroL: run, look inside, measure, train.",
               "revenant");
  app.set_version_flag("--version", "revenant " REVENANT_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Example: revenant run -m MODEL --image cat.jpg -p \"What is this?\"\n"
      "Each command has its own --help.");
  for (const auto add : commands) add(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const Exit& exit) {
    return exit.code;
  } catch (const std::bad_alloc&) {
    return fail("[memory] allocation: not enough memory");
  } catch (const std::exception& error) {
    return fail(error.what());
  }
  return 0;
}

}  // namespace
}  // namespace revenant

int main(int argc, char** argv) {
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int n) { _exit(128 + n); });
  const int code = revenant::run(argc, argv);
  if (std::fflush(stdout) != 0 && code == 0) return revenant::fail("[cli] stdout: cannot write");
  return code;
}
