// Options of commands that ask somebody else's server, and what becomes of them.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/file.h"
#include "client/chat.h"

namespace revenant {

// As they were given; empty: not.
struct ServerWords {
  std::string server, model, key_variable, body;
  Path key_file;
};

// --server, --api-key-env, --api-key-file and --body after `prefix`; `whose` server it is.
CLI::Option* add_server_words(CLI::App& command, ServerWords& words, const std::string& prefix,
                              const std::string& whose);
void add_timeout(CLI::App& command, double& seconds);

// Address, model, key and more fields of each request, none of which is one of `set`. Warns of a
// key that goes unencrypted; throws Error.
ChatOptions chat_options(const ServerWords& words, const std::string& room, const char* body_option,
                         std::initializer_list<const char*> set);
// Without a path, /v1 is meant.
Url server_url(const std::string& text);

// `words.model`, or the server's only one.
std::string model_at(ChatOptions options, const std::string& room, const GoOn& go_on = {});

}  // namespace revenant
