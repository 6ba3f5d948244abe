#include "engine/generate.h"

#include <utility>

#include "base/error.h"
#include "engine/engine.h"

namespace revenant {

const char* name_of(Finish finish) {
  switch (finish) {
    case Finish::stop:
      return "stop";
    case Finish::length:
      return "length";
    case Finish::cancelled:
      return "cancelled";
    case Finish::failed:
      return "failed";
  }
  return "?";
}

std::string length_warning(const Config& config, int tokens) {
  const int reach = rope_reach(config.rope);
  if (reach == 0 || tokens <= reach) return "";
  return std::to_string(tokens) + " tokens of prompt and answer: the model was made for at most " +
         std::to_string(reach) + " (max_position_embeddings)";
}

std::vector<Generated> generate(std::span<const Request> requests) {
  std::vector<Generated> made;
  if (requests.empty()) return made;
  Engine engine(requests[0].session->model());
  std::vector<Engine::Ticket> tickets;
  for (const Request& request : requests) tickets.push_back(engine.submit(request));
  while (engine.step()) continue;
  for (const Engine::Ticket ticket : tickets) made.push_back(*engine.result(ticket));
  return made;
}

Generated generate(const Request& request) {
  Generated made = std::move(generate(std::span(&request, 1)).front());
  if (made.failure) throw *made.failure;
  return made;
}

Generated answer(const Model& model, std::span<const Image> pictures, const std::string& question,
                 GenerateOptions options) {
  const Speech& speech = model.speech();
  Pictures encoded = model.encode(pictures);
  const Turn turn{question, int(pictures.size()), ""};
  const auto pieces = chat_pieces(speech.rule, std::span(&turn, 1));
  const EncodedPrompt prompt = encode_prompt(speech.tokenizer, speech.rule, pieces, encoded.tokens);
  options.speech = &speech;
  options.stop_ids.insert(options.stop_ids.end(), speech.stop_ids.begin(), speech.stop_ids.end());
  Session session(model);
  Generated made =
      generate({&session, {prompt.ids.begin(), prompt.ids.end()}, encoded.features, options, true});
  made.text = filter_output(speech.rule, made.text);
  return made;
}

}  // namespace revenant
