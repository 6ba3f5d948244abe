#include "engine/grounding.h"

#include <utility>

namespace revenant {

Image grey_picture(int width, int height) {
  constexpr uint8_t grey = 128;
  return blank_image(width, height, grey);
}

std::shared_ptr<const double> watch_log_prob(GenerateOptions& options) {
  auto sum = std::make_shared<double>(0);
  options.on_choice = [sum, others = std::move(options.on_choice)](int id,
                                                                   std::span<const float> logits) {
    *sum += double(logits[size_t(id)]) - log_sum_exp(logits);
    if (others) others(id, logits);
  };
  return sum;
}

Request said_again(const Request& request, std::vector<int> answer) {
  Request again{
      .session = nullptr, .ids = request.ids, .features = request.features, .options = {}};
  again.options.max_new_tokens = int(answer.size());
  again.options.said = std::move(answer);
  again.options.go_on = request.options.go_on;
  again.last = true;
  again.salt = request.salt;
  return again;
}

}  // namespace revenant
