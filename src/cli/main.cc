// revenant: the program. Results go to stdout, everything else to stderr. Exit codes: 0 done,
// 1 failed, 2 wrong usage, 130, 141 and 143 after SIGINT, SIGPIPE and SIGTERM.
#include "cli/commands.h"
#include "cli/program.h"

namespace revenant {
namespace {

constexpr void (*commands[])(CLI::App&) = {
    add_run,         add_ask,     add_chat,     add_serve, add_eval,    add_calibrate,
    add_perplexity,  add_inspect, add_tokenize, add_tiles, add_data,    add_trace,
    add_conformance, add_synth,   add_quantize, add_merge, add_view,    add_bench,
    add_triples,     add_graft,   add_train,    add_sweep, add_imatrix, add_quality,
};

}  // namespace
}  // namespace revenant

int main(int argc, char** argv) {
  using namespace revenant;
  CLI::App app("Vision-language models Phantom and TroL: run, look inside, measure, train.",
               "revenant");
  app.set_version_flag("--version", "revenant " REVENANT_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Example: revenant run -m MODEL --image cat.jpg -p \"What is this?\"\n"
      "Each command has its own --help.");
  for (const auto add : commands) add(app);
  return run_program(app, argc, argv);
}
