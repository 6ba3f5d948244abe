// Options that several commands share.
#pragma once

#include <CLI/CLI.hpp>
#include <map>

#include "engine/model.h"
#include "engine/sampling.h"

namespace revenant {

struct ModelArgs {
  Path directory;
  ModelOptions options;
};
// Of an option: the text of a whole number from `least` up.
CLI::Validator whole_number(uint64_t least);
// `type` takes one of f32, f16, bf16 by name.
template <class Taken>
CLI::Option* add_type_option(CLI::App& command, const char* name, Taken& type, const char* help) {
  static const std::map<std::string, DType> types = {
      {"f32", DType::f32}, {"f16", DType::f16}, {"bf16", DType::bf16}};
  return command
      .add_option_function<std::string>(
          name, [&type](const std::string& text) { type = types.at(text); }, help)
      ->check(CLI::IsMember(types));
}
void add_model_options(CLI::App& command, ModelArgs& args, bool threads = true);
// Of a command that asks a server instead, given --server: -m is the model's name there
// then, and may be left out. What means nothing with a server, or without one, is wrong usage.
void check_where(const CLI::App& command, bool server, std::initializer_list<const char*> of_server,
                 std::initializer_list<const char*> of_model);
void tell_warnings(const std::vector<std::string>& warnings);

// --fields OURS=THEIRS, of every command that reads rows.
void add_fields_option(CLI::App& command, std::map<std::string, std::string>& fields);

// --exif and --max-pixels, of every command that reads pictures.
void add_picture_options(CLI::App& command, ReadOptions& reading);

// How tokens are sampled; with or without a seed.
void add_sampling_options(CLI::App& command, Sampling& sampling, bool seed = true);

struct SpeakArgs {
  ModelArgs model;
  Sampling sampling;
  int beams = 1;
  int max_new_tokens = 512;
  int context = 0;  // 0: no limit
  std::vector<Path> images;
  ReadOptions reading{.exif = Exif::apply};  // the model is shown what people see
  bool verbose = false;
};
void add_beam_option(CLI::App& command, int& beams);
void add_speak_options(CLI::App& command, SpeakArgs& args);
void add_search_options(CLI::App& command, SpeakArgs& args);  // beams, and what they exclude
// -n, or what -c leaves of it after a prompt. Throws Error if it leaves nothing.
int room_for_answer(const SpeakArgs& args, int prompt_tokens);

}  // namespace revenant
