// Options that several commands share.
#pragma once

#include <CLI/CLI.hpp>

#include "engine/model.h"
#include "engine/sampling.h"

namespace revenant {

struct ModelArgs {
  Path directory;
  ModelOptions options;
};
void add_model_options(CLI::App& command, ModelArgs& args);
void tell_warnings(const std::vector<std::string>& warnings);

struct SpeakArgs {
  ModelArgs model;
  Sampling sampling;
  int beams = 1;
  int max_new_tokens = 512;
  int context = 0;  // 0: no limit
  std::vector<Path> images;
  bool verbose = false;
};
void add_beam_option(CLI::App& command, int& beams);
void add_speak_options(CLI::App& command, SpeakArgs& args);

}  // namespace revenant
