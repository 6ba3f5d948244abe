// How a server does while several ask it at once.
#pragma once

#include "client/chat.h"

namespace revenant {

struct LoadOptions {
  ChatOptions server;
  int clients = 1;   // at once, each over a connection of its own
  int requests = 5;  // of each, one after the other
  // Of the request with this number, from 0 up.
  std::function<nlohmann::json(size_t number)> messages;
  GoOn go_on = {};
  std::function<void(size_t done)> progress = {};  // told now and then, on the caller's thread
};

struct LoadReport {
  size_t answered = 0, failed = 0;
  std::string failure;                              // the first one's reason
  double seconds = 0;                               // from the first request to the last answer
  int64_t prompt_tokens = 0, cached_tokens = 0;     // where the server counts them
  int64_t tokens = 0;                               // of answers; without a count, their parts
  std::vector<double> first_token, between, whole;  // seconds: to the first text; from one text to
                                                    // the next; to the end
};

// Streams all of it. A request that is not answered counts as failed and is not asked again. Throws
// Error where no further one would be answered, and Stopped.
LoadReport run_load(const LoadOptions& options);

// The least of `values` that at least this share of them does not exceed; 0: there are none.
double percentile(std::vector<double> values, double share);

}  // namespace revenant
