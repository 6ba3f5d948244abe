// bench --server: how a server does while several ask it at once.
#pragma once

#include "cli/server_words.h"

namespace revenant {

struct ServerBench {
  ServerWords words;
  std::vector<int> clients = {1, 4, 8};
  std::vector<Path> images;
  double timeout = 120;
};
void add_server_bench(CLI::App& command, ServerBench& args);

// Streams `repetitions` answers of each client, for each of these numbers of words of a prompt, of
// tokens and of clients; prints rows.
void bench_server(const ServerBench& args, const std::vector<int>& prompts,
                  const std::vector<int>& tokens, int repetitions, const std::string& form);

}  // namespace revenant
