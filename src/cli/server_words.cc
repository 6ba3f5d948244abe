#include "cli/server_words.h"

#include <cstdlib>

#include "base/json.h"
#include "base/key_file.h"
#include "cli/options.h"
#include "cli/program.h"

namespace revenant {
namespace {

using nlohmann::json;

std::string key_of(const ServerWords& words, const std::string& room) {
  if (!words.key_file.empty()) return read_key_file(words.key_file, room).front();
  if (words.key_variable.empty()) return "";
  const char* key = std::getenv(words.key_variable.c_str());
  if (!key) throw Error(room, words.key_variable, "an API key in the environment", "none");
  check_key(key, room);
  return key;
}

json body_of(const std::string& text, const std::string& room, const char* option,
             std::initializer_list<const char*> set) {
  if (text.empty()) return json::object();
  const Place place{room, option};
  json body = parse_json(text, place);
  if (!body.is_object()) place.fail("an object of JSON", shown(body));
  for (const char* ours : set)
    if (body.contains(ours)) (place / ours).fail("nothing: it is set already", shown(body[ours]));
  return body;
}

}  // namespace

CLI::Option* add_server_words(CLI::App& command, ServerWords& words, const std::string& prefix,
                              const std::string& whose) {
  CLI::Option* server =
      command.add_option(prefix + "server", words.server,
                         "address of " + whose + ", with its /v1 (which is meant without a path)");
  CLI::Option* variable = command.add_option(prefix + "api-key-env", words.key_variable,
                                             "name of the environment's variable with its API key");
  command
      .add_option(prefix + "api-key-file", words.key_file,
                  "file with it, which its owner alone may read")
      ->transform(at_home)
      ->excludes(variable);
  command.add_option(prefix + "body", words.body,
                     "more fields of its requests: '{\"temperature\": 0.7}'");
  return server;
}

void add_timeout(CLI::App& command, double& seconds) {
  command.add_option("--timeout", seconds, "seconds for a request")
      ->check(CLI::Range(0.01, 86400.0))
      ->capture_default_str();
}

Url server_url(const std::string& text) {
  Url url = parse_url(text);
  if (url.path.empty()) url.path = "/v1";
  return url;
}

ChatOptions chat_options(const ServerWords& words, const std::string& room, const char* body_option,
                         std::initializer_list<const char*> set) {
  ChatOptions chat;
  chat.url = server_url(words.server);
  chat.model = words.model;
  chat.key = key_of(words, room);
  chat.body = body_of(words.body, room, body_option, set);
  if (!chat.key.empty() && !chat.url.tls && !chat.url.loopback())
    tell_warnings({"the API key goes to " + chat.url.text() + " unencrypted"});
  return chat;
}

std::string model_at(ChatOptions options, const std::string& room, const GoOn& go_on) {
  if (!options.model.empty()) return options.model;
  const std::string subject = options.url.text();
  std::vector<std::string> names;
  try {
    ChatServer server(std::move(options));
    names = ChatClient(server).models(go_on);
  } catch (const NotAnswered& why) {
    throw Error(room, subject, "a list of models", why.what());
  }
  if (names.size() == 1) return names.front();
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  throw Error(room, subject, "one model (-m NAME chooses)", all.empty() ? "none" : all);
}

}  // namespace revenant
