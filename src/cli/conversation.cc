#include "cli/conversation.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "cli/program.h"
#include "text/unicode.h"

namespace revenant {
namespace {

// Pictures that were encoded apart, as one list.
Pictures joined(std::span<const Pictures> parts) {
  Pictures all;
  int rows = 0, width = 0;
  for (const Pictures& part : parts) {
    all.tokens.insert(all.tokens.end(), part.tokens.begin(), part.tokens.end());
    rows += part.features.rows;
    width = std::max(width, part.features.width);
  }
  if (rows == 0) return all;
  all.features = Tensor(rows, 1, width);
  float* to = all.features.data();
  for (const Pictures& part : parts) {
    if (part.features.empty()) continue;
    std::memcpy(to, part.features.data(), part.features.size() * sizeof(float));
    to += part.features.size();
  }
  return all;
}

}  // namespace

Conversation::Conversation(const Model& model, const SpeakArgs& args, bool once)
    : model_(model), args_(args), session_(model), once_(once) {}

void Conversation::show(std::span<const Path> pictures, const GoOn& go_on) {
  std::vector<Image> images;
  for (const Path& picture : pictures) images.push_back(read_image(picture, args_.reading));
  const Stopwatch watch;
  std::vector<Pictures> encoded;
  for (const Image& image : images) encoded.push_back(model_.encode(std::span(&image, 1), go_on));
  tower_.seconds += watch.seconds();
  for (const Pictures& picture : encoded) tower_.rows += picture.features.rows;
  new_pictures_ += int(encoded.size());
  std::ranges::move(encoded, std::back_inserter(pictures_));
}

void Conversation::reset() {
  turns_.clear();
  pictures_.clear();
  new_pictures_ = asked_ = 0;
  session_.rewind(0);
}

GenerateOptions Conversation::options_for(int prompt_tokens) {
  GenerateOptions options;
  options.sampling = args_.sampling;
  options.sampling.seed += uint64_t(asked_++);
  options.beams = args_.beams;
  options.max_new_tokens = room_for_answer(args_, prompt_tokens);
  options.stop_ids = model_.speech().stop_ids;
  options.speech = &model_.speech();
  return options;
}

void Conversation::ask(const std::string& question, const GoOn& go_on) {
  const Speech& speech = model_.speech();
  std::vector<Turn> turns = turns_;
  turns.push_back({question, new_pictures_, ""});
  const Pictures pictures = joined(pictures_);
  const EncodedPrompt prompt = encode_prompt(speech.tokenizer, speech.rule,
                                             chat_pieces(speech.rule, turns), pictures.tokens);
  GenerateOptions options = options_for(int(prompt.ids.size()));
  options.go_on = go_on;
  TrimmedStream stream;
  options.on_token = [&](int, std::string_view text) {
    say(stream.push(text));
    return true;
  };
  const Generated made = generate(
      {&session_, {prompt.ids.begin(), prompt.ids.end()}, pictures.features, options, once_});
  say("\n");
  tell_length(made.timings.prompt_tokens + made.timings.generated_tokens);
  if (args_.verbose) tell(made.timings);
  turns.back().answer = filter_output(speech.rule, made.text);
  if (turns.back().answer.empty()) return;  // nothing was said: the pictures wait for a question
  turns_ = std::move(turns);
  new_pictures_ = 0;
}

void Conversation::tell_length(int tokens) {
  const std::string warning = length_warning(model_.config(), tokens);
  if (!warning.empty() && !std::exchange(warned_, true)) tell_warnings({warning});
}

void Conversation::tell(const Timings& t) {
  if (tower_.rows > 0)
    std::fprintf(stderr, "tower: %d rows, %.3f s (%.1f rows/s)\n", tower_.rows, tower_.seconds,
                 tower_.rows / std::max(tower_.seconds, 1e-9));
  tower_ = {};
  std::fprintf(stderr,
               "prompt: %d tokens, %.3f s (%.1f tokens/s); answer: %d tokens, %.3f s (%.1f "
               "tokens/s); cache: %.1f MB\n",
               t.prompt_tokens, t.prompt_seconds,
               t.prompt_tokens / std::max(t.prompt_seconds, 1e-9), t.generated_tokens,
               t.generate_seconds, t.generated_tokens / std::max(t.generate_seconds, 1e-9),
               double(session_.cache_bytes()) / 1e6);
}

}  // namespace revenant
