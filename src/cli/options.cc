#include "cli/options.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <limits>

#include "base/error.h"
#include "cli/program.h"

namespace revenant {

void add_sampling_options(CLI::App& command, Sampling& sampling, bool seed) {
  constexpr double huge = 1e6;
  command.add_option("--temp", sampling.temperature, "temperature; 0 takes the likeliest token")
      ->check(CLI::Range(0.0, huge))
      ->capture_default_str();
  command.add_option("--top-k", sampling.top_k, "sample among so many tokens; 0: all")
      ->check(CLI::Range(0, std::numeric_limits<int>::max()))
      ->capture_default_str();
  command
      .add_option("--top-p", sampling.top_p, "sample among the likeliest that reach this together")
      ->check(CLI::Range(1e-9, 1.0))
      ->capture_default_str();
  command.add_option("--min-p", sampling.min_p, "least share of the likeliest token's probability")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command.add_option("--repeat-penalty", sampling.repetition_penalty, "1: none")
      ->check(CLI::Range(1e-6, huge))
      ->capture_default_str();
  if (!seed) return;
  command.add_option("-s,--seed", sampling.seed, "of sampling")
      ->check(whole_number(0))
      ->capture_default_str();
}

CLI::Validator whole_number(uint64_t least) {
  const auto complaint = [least](const std::string& text) -> std::string {
    uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, value);
    if (read.ec == std::errc() && read.ptr == end && value >= least) return "";
    return "expected a whole number from " + std::to_string(least) + " up, found " + text;
  };
  return CLI::Validator(complaint, "");
}

void add_model_options(CLI::App& command, ModelArgs& args, bool threads) {
  command.add_option("-m,--model", args.directory, "model directory or GGUF file")
      ->required()
      ->transform(at_home);
  if (threads)
    command.add_option("-t,--threads", args.options.threads, "0: as many as the machine has")
        ->check(CLI::Range(0, 1024))
        ->capture_default_str();
  command
      .add_option("--config-set", args.options.settings, "key=value over config.json; may repeat")
      ->allow_extra_args(false);
  std::map<std::string, Format> types;
  for (const Format type : cache_formats) types[cache_name(type)] = type;
  std::optional<Format>& type = args.options.cache_type;
  command
      .add_option_function<std::string>(
          "--cache-type", [&type, types](const std::string& name) { type = types.at(name); },
          "of cached keys and values; without it f16, but f32 under f32 weights. Phantom's ghosts "
          "of\n"
          "values take q8_0 where that cannot be told (inspect says which)")
      ->check(CLI::IsMember(types));
  size_t& memory = args.options.cache_memory;
  command
      .add_option_function<size_t>(
          "--cache-memory", [&memory](size_t megabytes) { memory = megabytes << 20; },
          "MiB of all caches at most: fewer answers at a time where they would take more, an "
          "error\n"
          "of the one that takes more alone. 0: no limit")
      ->check(CLI::Range(0, 1 << 30))
      ->default_str(std::to_string(memory >> 20));
  std::vector<std::string> names = {"BF16"};
  for (const QuantizeType& type : quantize_types())
    if (is_quantised(type.most)) names.push_back(type.name);
  command
      .add_option_function<std::string>(
          "--weights",
          [&args](const std::string& name) { args.options.weights = quantize_type(name); },
          "quantises weights of 16 or 32 bits while they are read, as `revenant quantize --type`\n"
          "does (docs/gguf.md); BF16: what they are multiplied with is rounded to bf16 too, twice "
          "as\n"
          "fast where the machine has instructions for it")
      ->check(CLI::IsMember(names, CLI::ignore_case));
  std::vector<std::string>& settings = args.options.settings;
  command
      .add_option_function<std::string>(
          "--traverse",
          [&settings](const std::string& rows) {
            settings.push_back("revenant.trol_traverse=" + rows);
          },
          "TroL: what passes its layers again. prompt: as released; off (nothing) and all\n"
          "(generated tokens too) deviate from the released code (paper, table 10)")
      ->check(CLI::IsMember({"off", "prompt", "all"}));
  command
      .add_option_function<int>(
          "--passes",
          [&settings](int passes) {
            settings.push_back("revenant.trol_passes=" + std::to_string(passes));
          },
          "TroL: passes of what traverses, 2 to 4. 2: as released; more deviate from the\n"
          "released code (paper, table 8)")
      ->check(CLI::Range(2, 4));
  command
      .add_option_function<std::string>(
          "--traverse-threshold",
          [&settings](const std::string& threshold) {
            settings.push_back("revenant.trol_threshold=" + threshold);
          },
          "TroL: rows whose gate is less take nothing of a further pass, which is not computed\n"
          "for them (docs/trol.md has what that costs). 0: as released")
      ->check(CLI::Range(0.0, 1.0));
}

void check_where(const CLI::App& command, bool server, std::initializer_list<const char*> of_server,
                 std::initializer_list<const char*> of_model) {
  for (const char* option : server ? of_model : of_server)
    if (command.count(option) > 0)
      throw CLI::ValidationError(option,
                                 server ? "is of models that are opened here: not with --server"
                                        : "is of servers: only with --server");
  if (!server && command.count("--model") == 0) throw CLI::RequiredError("-m or --server");
}

void add_beam_option(CLI::App& command, int& beams) {
  command
      .add_option("--beams", beams,
                  "beam search; the papers' numbers have 3 (Phantom), 5 (TroL). 0, 1: none")
      ->check(CLI::Range(0, 64))
      ->capture_default_str();
}

void tell_warnings(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings)
    std::fprintf(stderr, "revenant: warning: %s\n", one_line(warning).c_str());
}

void add_fields_option(CLI::App& command, std::map<std::string, std::string>& fields) {
  command
      .add_option_function<std::vector<std::string>>(
          "--fields",
          [&fields](const std::vector<std::string>& pairs) {
            for (const std::string& pair : pairs) {
              const size_t equals = pair.find('=');
              if (equals == pair.npos)
                throw CLI::ValidationError("--fields", "expected ours=theirs, found " + pair);
              fields[pair.substr(0, equals)] = pair.substr(equals + 1);
            }
          },
          "what the file calls our fields: question=q,chosen=a,rejected=b,image=img")
      ->delimiter(',')
      ->allow_extra_args(false);
}

void add_picture_options(CLI::App& command, ReadOptions& reading) {
  command
      .add_option_function<std::string>(
          "--exif", [&reading](const std::string& name) { reading.exif = *exif_named(name); },
          "apply turns a picture as its EXIF orientation says; ignore: as stored, as released")
      ->check(CLI::IsMember({"apply", "ignore"}))
      ->default_str(reading.exif == Exif::apply ? "apply" : "ignore");
  command
      .add_option("--max-pixels", reading.max_pixels,
                  "larger pictures are refused before they are decoded")
      ->check(CLI::Range(int64_t(1), most_pixels))
      ->capture_default_str();
}

void add_speak_options(CLI::App& command, SpeakArgs& args) {
  add_model_options(command, args.model);
  command.add_option("--image", args.images, "picture file; may repeat")
      ->allow_extra_args(false)
      ->transform(at_home);
  add_picture_options(command, args.reading);
  command.add_option("-n,--predict", args.max_new_tokens, "most tokens of an answer")
      ->check(whole_number(1))
      ->capture_default_str();
  command
      .add_option("-c,--ctx-size", args.context,
                  "most tokens of prompt and answer; a longer prompt is an error. 0: no limit;\n"
                  "beyond max_position_embeddings a warning, unless the rotary rule stretches")
      ->check(whole_number(0))
      ->capture_default_str();
  add_sampling_options(command, args.sampling);
  command.add_flag("-v,--verbose", args.verbose, "timings on stderr");
}

void add_search_options(CLI::App& command, SpeakArgs& args) {
  add_beam_option(command, args.beams);
  command.parse_complete_callback([&args] {
    if (args.beams > 1 && args.sampling.temperature > 0)
      throw CLI::ValidationError("--beams", "does not sample: --temp must be 0");
  });
}

int room_for_answer(const SpeakArgs& args, int prompt_tokens) {
  if (args.context == 0) return args.max_new_tokens;
  if (prompt_tokens >= args.context)
    throw Error("cli", "prompt", "fewer tokens than --ctx-size " + std::to_string(args.context),
                std::to_string(prompt_tokens));
  return std::min(args.max_new_tokens, args.context - prompt_tokens);
}

}  // namespace revenant
