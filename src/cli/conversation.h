// A conversation with a model on stdout: pictures, questions, streamed answers, history.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/options.h"
#include "engine/generate.h"

namespace revenant {

class Conversation {
 public:
  // `once`: there is one question only.
  Conversation(const Model& model, const SpeakArgs& args, bool once = false);

  // Where something is stopped or an Error is thrown, the conversation is what it was before.
  // All with the next question, or none; throws Stopped.
  void show(std::span<const Path> pictures, const GoOn& go_on = {});
  // Streams the answer to stdout, a newline at its end; stopped, what there is of it.
  void ask(const std::string& question, const GoOn& go_on = {});
  void reset();

 private:
  GenerateOptions options_for(int prompt_tokens);
  void tell(const Timings& timings);
  void tell_length(int tokens);  // once, if the model was not made for so many

  const Model& model_;
  const SpeakArgs& args_;
  Session session_;
  std::vector<Turn> turns_;
  std::vector<Pictures> pictures_;  // of all turns and the next one
  struct {
    double seconds = 0;
    int rows = 0;
  } tower_;  // of the next question's pictures
  bool once_, warned_ = false;
  int asked_ = 0;         // questions so far: each samples with a seed of its own
  int new_pictures_ = 0;  // of the next one
};

}  // namespace revenant
