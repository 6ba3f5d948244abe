// revenant serve: an OpenAI-compatible server.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <utility>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/program.h"
#include "serve/server.h"

namespace revenant {
namespace {

struct Args {
  ModelArgs model;  // but for its directory
  std::vector<std::string> models, abstain;
  ApiOptions api;
  HttpOptions http;
  std::string alias;
  std::vector<std::string> keys;
  std::vector<Path> key_files;
  MediaOptions media;
  Path cache_directory;  // empty: none
  size_t cache_megabytes = 4096;
  size_t body_megabytes = 32, picture_megabytes = 256, model_megabytes = 0;
  double drain_seconds = 30;
};

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

std::string name_of(const Path& path) {
  std::string name = path.filename().string();
  if (name.ends_with(".gguf")) name.resize(name.size() - 5);
  return name.empty() ? path.parent_path().filename().string() : name;
}

// What its files take: they are mapped.
size_t bytes_of(const Path& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    const auto size = std::filesystem::file_size(path, error);
    return error ? 0 : size_t(size);
  }
  size_t sum = 0;
  for (const auto& file : std::filesystem::directory_iterator(path, error))
    if (file.is_regular_file(error)) sum += size_t(file.file_size(error));
  return sum;
}

// PATH, or NAME=PATH where no file is called so and no / stands in the name.
struct Named {
  std::string name;  // empty: none was given
  Path path;
};
Named named_path(const char* option, const std::string& text) {
  std::error_code error;
  const size_t equals = text.find('=');
  const bool named = equals != text.npos && equals > 0 && text.find('/') > equals &&
                     !std::filesystem::exists(text, error);
  Named made{named ? text.substr(0, equals) : "",
             expand_home(named ? text.substr(equals + 1) : text)};
  if (made.path.empty()) throw Error("serve", option, "a path", text);
  return made;
}

struct Abstention {
  Path file;
  std::shared_ptr<const Calibration> calibration;  // null: it abstains from nothing
};

std::shared_ptr<const Model> open_model(const Path& path, const ModelOptions& options,
                                        const Abstention& abstention) {
  auto model = std::make_shared<const Model>(path, options);
  if (abstention.calibration && model->files().digest() != abstention.calibration->model)
    throw Error("serve", abstention.file.string(),
                "the calibration of " + path.string() + " as it is",
                "one of other weights or settings");
  tell_warnings(model->warnings());
  return model;
}

// `told`: whether the first failure to load it is told already: that of the first model ends the
// program, which tells it.
ModelToServe model_to_serve(const Named& model, const ModelOptions& options,
                            const Abstention& abstention, bool told) {
  return {.name = model.name,
          .bytes = bytes_of(model.path),
          .load =
              [model, options, abstention, told]() mutable {
                const bool tells = std::exchange(told, true);
                try {
                  return open_model(model.path, options, abstention);
                } catch (const std::exception& error) {
                  if (tells) tell_warnings({"model " + model.name + ": " + reason_of(error)});
                  throw;
                }
              },
          .abstain = abstention.calibration};
}

std::vector<ModelToServe> models_to_serve(const Args& args) {
  std::map<std::string, Abstention> abstentions;  // by model; "": the first one
  for (const std::string& text : args.abstain) {
    const auto [name, file] = named_path("--abstain", text);
    abstentions[name] = {file, std::make_shared<const Calibration>(read_calibration(file))};
  }
  std::vector<ModelToServe> models;
  for (const std::string& text : args.models) {
    Named model = named_path("-m", text);
    const bool first = models.empty();
    if (model.name.empty()) model.name = name_of(model.path);
    if (first && !args.alias.empty()) model.name = args.alias;
    auto found = abstentions.extract(model.name);
    if (found.empty() && first) found = abstentions.extract("");
    const Abstention abstention = found.empty() ? Abstention() : found.mapped();
    models.push_back(model_to_serve(model, args.model.options, abstention, !first));
  }
  if (!abstentions.empty())
    throw Error("serve", "--abstain", "the name of a model of this server",
                abstentions.begin()->first);
  return models;
}

ApiOptions api_options(const Args& args) {
  ApiOptions api = args.api;
  for (const std::string& key : args.keys) api.keys.add(key);
  for (const Path& file : args.key_files) api.keys.add_file(file);
  if (const char* key = std::getenv("REVENANT_API_KEY")) api.keys.add(key);
  // A page whose name resolves to this machine may not ask in the name of who looks at it.
  if (is_loopback(args.http.host) && api.keys.empty())
    api.hosts = {"localhost", "127.0.0.1", "[::1]", args.http.host};
  api.schedule.picture_bytes = args.picture_megabytes << 20;
  if (!args.media.domains.empty() || !args.media.folder.empty()) {
    MediaOptions media = args.media;
    media.limits.request_bytes = args.body_megabytes << 20;
    api.media = std::make_shared<Media>(std::move(media));
  }
  if (!args.cache_directory.empty())
    api.schedule.disk = std::make_shared<DiskCache>(
        DiskCacheOptions{.directory = args.cache_directory,
                         .bytes = args.cache_megabytes << 20,
                         .tell = [](const std::string& what) { tell_warnings({what}); }});
  return api;
}

void serve(const Args& args) {
  HttpOptions http = args.http;
  http.body_bytes = args.body_megabytes << 20;
  http.drain = HttpOptions::Seconds(args.drain_seconds);
  // Who waits for somebody else's server does not keep the others waiting.
  if (!args.media.domains.empty()) http.readers += args.media.limits.at_once;
  const ApiOptions api = api_options(args);
  Server server(api, http, models_to_serve(args), args.model_megabytes << 20);
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
      .add_option("--allow-media-domain", args.media.domains,
                  "pictures may be fetched from https://NAME/...: NAME, or NAME:PORT; may repeat")
      ->allow_extra_args(false);
  command
      .add_option("--media-path", args.media.folder,
                  "pictures may be read from this folder: file:///PATH")
      ->transform(at_home)
      ->check(CLI::ExistingDirectory);
  command
      .add_option("--image-memory", args.picture_megabytes,
                  "MiB of encoded pictures that are kept for who asks about them again")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  CLI::Option* directory =
      command
          .add_option("--cache-dir", args.cache_directory,
                      "keeps what prompts begin with and encoded pictures here, over restarts")
          ->transform(at_home);
  command
      .add_option("--cache-dir-size", args.cache_megabytes,
                  "MiB of it at most; what was not used for the longest time goes")
      ->needs(directory)
      ->check(CLI::Range(1, 1 << 30))
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
  command->remove_option(command->get_option("--model"));
  command
      ->add_option("-m,--model", args->models,
                   "model directory or GGUF file, or NAME=PATH; may repeat: the others are loaded\n"
                   "when they are asked for")
      ->required()
      ->allow_extra_args(false);
  command
      ->add_option(
          "--model-memory", args->model_megabytes,
          "MiB of loaded models' files; beyond, the one that was not asked for the longest\n"
          "time goes. 0: no limit")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
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
  command
      ->add_option("--abstain", args->abstain,
                   "a file of `revenant calibrate`: no answer about pictures that is less sure;\n"
                   "NAME=FILE is of another model than the first; may repeat")
      ->allow_extra_args(false)
      ->type_name("FILE");
  command->add_option("--alias", args->alias,
                      "the (first) model's name for clients; else its file's or directory's");
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
