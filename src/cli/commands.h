// The commands of `revenant`. Each add_... puts one subcommand into the table in main.cc; its
// callback does the work and throws on failure. A new command is a file, a line here, one in
// main.cc and one in CMakeLists.txt.
#pragma once

#include <CLI/CLI.hpp>

namespace revenant {

void add_run(CLI::App& app);
void add_ask(CLI::App& app);
void add_chat(CLI::App& app);
void add_eval(CLI::App& app);
void add_calibrate(CLI::App& app);
void add_perplexity(CLI::App& app);
void add_inspect(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_tiles(CLI::App& app);
void add_data(CLI::App& app);
void add_data_check(CLI::App& data);
void add_trace(CLI::App& app);
void add_conformance(CLI::App& app);
void add_synth(CLI::App& app);
void add_quantize(CLI::App& app);
void add_imatrix(CLI::App& app);
void add_quality(CLI::App& app);
void add_merge(CLI::App& app);
void add_graft(CLI::App& app);
void add_view(CLI::App& app);
void add_serve(CLI::App& app);
void add_bench(CLI::App& app);
void add_triples(CLI::App& app);
void add_train(CLI::App& app);
void add_sweep(CLI::App& app);

// Thrown by a command that has said all it had to say, to end the program with this code.
struct Exit {
  int code;
};

// Replaces this process by `revenant-train` beside the own executable, without a fork, with the
// same arguments. For `train`, `sweep` and every `--backend torch`. Throws Error if it is not
// there.
[[noreturn]] void become_train();

}  // namespace revenant
