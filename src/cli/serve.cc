// revenant serve: an OpenAI-compatible server.
#include <cstdio>
#include <cstdlib>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/program.h"
#include "serve/server.h"

namespace revenant {
namespace {

struct Args {
  ModelArgs model;
  ApiOptions api;
  HttpOptions http;
  std::string alias;
  std::vector<std::string> keys;
  std::vector<Path> key_files;
  size_t body_megabytes = 32, picture_megabytes = 256;
  double drain_seconds = 30;
};

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

ApiOptions api_options(const Args& args) {
  ApiOptions api = args.api;
  api.model = args.alias.empty() ? args.model.directory.filename().string() : args.alias;
  if (api.model.ends_with(".gguf")) api.model.resize(api.model.size() - 5);
  if (api.model.empty()) api.model = args.model.directory.parent_path().filename().string();
  for (const std::string& key : args.keys) api.keys.add(key);
  for (const Path& file : args.key_files) api.keys.add_file(file);
  if (const char* key = std::getenv("REVENANT_API_KEY")) api.keys.add(key);
  // A page whose name resolves to this machine may not ask in the name of who looks at it.
  if (is_loopback(args.http.host) && api.keys.empty())
    api.hosts = {"localhost", "127.0.0.1", "[::1]", args.http.host};
  api.schedule.picture_bytes = args.picture_megabytes << 20;
  return api;
}

void serve(const Args& args) {
  HttpOptions http = args.http;
  http.body_bytes = args.body_megabytes << 20;
  http.drain = HttpOptions::Seconds(args.drain_seconds);
  const ApiOptions api = api_options(args);
  Server server(api, http, [&args] {
    auto model = std::make_shared<const Model>(args.model.directory, args.model.options);
    tell_warnings(model->warnings());
    return model;
  });
  if (!is_loopback(http.host) && api.keys.empty())
    tell_warnings({"others can reach " + http.host + ", and no API key is set"});
  const bool v6 = http.host.find(':') != http.host.npos;
  std::fprintf(stderr, "listening on %s://%s:%d\n", http.certificate.empty() ? "http" : "https",
               (v6 ? "[" + http.host + "]" : http.host).c_str(), int(server.port()));
  server.run(true);
}

void add_limits(CLI::App& command, Args& args) {
  ScheduleOptions& s = args.api.schedule;
  command.add_option("--parallel", s.parallel, "answers on their way at once")
      ->check(whole_number(1))
      ->capture_default_str();
  command.add_option("--queue", s.queue, "requests that wait, at most; more get 503")
      ->check(whole_number(1))
      ->capture_default_str();
  command.add_option("--queue-each", s.queue_each, "the same of one API key; more get 429")
      ->check(whole_number(1))
      ->capture_default_str();
  command.add_option("--max-body", args.body_megabytes, "MiB of a request; larger ones get 413")
      ->check(CLI::Range(1, 1 << 12))
      ->capture_default_str();
  command.add_option("--max-images", args.api.ask.pictures, "pictures of a request")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command
      .add_option("--max-pixels", args.api.pictures.pixels,
                  "larger pictures are refused before they are decoded")
      ->check(CLI::Range(int64_t(1), most_pixels))
      ->capture_default_str();
  command
      .add_option("--image-memory", args.picture_megabytes,
                  "MiB of encoded pictures that are kept for who asks about them again")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command.add_option("--max-connections", args.http.connections, "at once; more wait")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command
      .add_option("--drain", args.drain_seconds,
                  "seconds that answers on their way have after SIGTERM")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
}

}  // namespace

void add_serve(CLI::App& app) {
  auto args = std::make_shared<Args>();
  args->model.options.cache_memory = size_t(4096) << 20;
  CLI::App* command =
      app.add_subcommand("serve", "An HTTP server that OpenAI's clients can talk to");
  add_model_options(*command, args->model);
  command->add_option("--host", args->http.host, "address to listen on; 0.0.0.0: all")
      ->capture_default_str();
  command->add_option("--port", args->http.port, "0: any that is free")->capture_default_str();
  CLI::Option* certificate =
      command
          ->add_option("--ssl-cert-file", args->http.certificate,
                       "certificate in PEM, with its chain: HTTPS alone is spoken then")
          ->transform(at_home);
  CLI::Option* key = command
                         ->add_option("--ssl-key-file", args->http.key,
                                      "its private key in PEM, which others cannot read")
                         ->transform(at_home);
  certificate->needs(key), key->needs(certificate);
  command->add_option("--alias", args->alias,
                      "the model's name for clients; else its file's or directory's");
  command
      ->add_option("--api-key", args->keys,
                   "needed by all but /health; may repeat. Others see it in lists of processes:\n"
                   "better --api-key-file, or REVENANT_API_KEY in the environment")
      ->allow_extra_args(false);
  command
      ->add_option("--api-key-file", args->key_files,
                   "file with a key a line, which its owner alone may read; may repeat")
      ->allow_extra_args(false)
      ->transform(at_home);
  command
      ->add_option("--cors-origin", args->api.origins,
                   "pages of this origin may ask too; \"*\": all; may repeat")
      ->allow_extra_args(false);
  command
      ->add_option("-n,--predict", args->api.max_tokens,
                   "most tokens of an answer, where a request says nothing")
      ->check(whole_number(1))
      ->capture_default_str();
  command
      ->add_option("-c,--ctx-size", args->api.context,
                   "most tokens of prompt and answer; 0: what the model was made for")
      ->check(whole_number(0))
      ->capture_default_str();
  add_sampling_options(*command, args->api.sampling, false);
  add_limits(*command, *args);
  command->footer(
      "docs/serve.md has the routes. SIGTERM lets answers on their way finish; a second one ends.\n"
      "Example: revenant serve -m MODEL --port 8080\n"
      "         curl http://127.0.0.1:8080/v1/models");
  command->callback([args] { serve(*args); });
}

}  // namespace revenant
