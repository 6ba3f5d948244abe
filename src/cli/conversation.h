// A conversation with a model on stdout: pictures, questions, streamed answers, history.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "cli/options.h"
#include "engine/generate.h"

namespace revenant {

class Conversation {
 public:
  Conversation(const Model& model, const SpeakArgs& args);

  void show(const Path& picture);  // with the next question; throws Error
  // Streams the answer to stdout, a newline at its end. `go_on` is asked at every token.
  void ask(const std::string& question, const std::function<bool()>& go_on);
  void reset();

 private:
  GenerateOptions options_for(int prompt_tokens) const;
  void tell(const Timings& timings) const;
  void tell_length(int tokens);  // once, if the model was not made for so many

  const Model& model_;
  const SpeakArgs& args_;
  Session session_;
  std::vector<Turn> turns_;
  std::vector<Pictures> pictures_;  // of all turns and the next one
  bool warned_ = false;
  int new_pictures_ = 0;  // of the next one
};

// Text as it comes, without the white space around it.
class TrimmedStream {
 public:
  std::string push(std::string_view text);

 private:
  bool begun_ = false;
  std::string white_;  // may turn out to be the end
};

}  // namespace revenant
