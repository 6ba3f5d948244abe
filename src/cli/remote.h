// A conversation with a model behind somebody's server.
#pragma once

#include <span>

#include "cli/options.h"
#include "cli/server_words.h"

namespace revenant {

struct RemoteArgs {
  ServerWords server;  // its model is -m
  double timeout = 120;
  nlohmann::json sent = nlohmann::json::object();  // what was set, as fields of a request
};
void add_remote_options(CLI::App& command, RemoteArgs& args);
// The options that were given, under the names that servers know. Throws CLI::ValidationError for
// what means nothing there.
nlohmann::json sent_fields(const CLI::App& command, const SpeakArgs& args);

class RemoteConversation {
 public:
  // Asks for the server's model, if none is named. Throws Error.
  RemoteConversation(const RemoteArgs& args, const SpeakArgs& speak);

  // As Conversation's: where something is stopped or an Error is thrown, the conversation is what
  // it was before, but for the part of an answer that was told before it was stopped.
  void show(std::span<const Path> pictures, const GoOn& go_on = {});
  void ask(const std::string& question, const GoOn& go_on = {});
  void reset();

 private:
  nlohmann::json question_json(const std::string& question) const;
  void tell(const ChatReply& reply, double first, double whole) const;

  const SpeakArgs& speak_;
  ChatOptions options_;
  ChatServer server_;
  ChatClient client_;
  nlohmann::json messages_ = nlohmann::json::array();
  std::vector<std::string> pictures_;  // of the next question
};

}  // namespace revenant
