#include "quant/released.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace revenant {

// Source: model/load_model.py of Phantom, load_trol.py of TroL. Some lists do not do what their
// authors meant, and are kept as they are: "mlp1" names no module, so Phantom's projector is
// quantised; "ffn" keeps all base weights of TroL-1.8B and 7B, so only their low-rank matrices are.
const std::vector<ReleasedQuantization>& released_quantizations() {
  static const std::vector<ReleasedQuantization> rules = {
      {"phantom-0.5b",
       8,
       {"linear_q", "linear_k", "linear_v", "linear_o", "gating_phantom_1", "gating_phantom_2",
        "mlp1", "q_proj", "k_proj", "v_proj", "phantom", "lm_head"}},
      {"phantom-1.8b",
       8,
       {"linear_q", "linear_k", "linear_v", "linear_o", "gating_phantom_1", "gating_phantom_2",
        "mlp1", "wqkv", "phantom", "output"}},
      {"phantom-3.8b",
       8,
       {"linear_q", "linear_k", "linear_v", "linear_o", "gating_phantom_1", "gating_phantom_2",
        "mlp1", "qkv_proj", "phantom", "lm_head"}},
      {"phantom-7b",
       8,
       {"linear_q", "linear_k", "linear_v", "linear_o", "gating_phantom_1", "gating_phantom_2",
        "mlp1", "wqkv", "output"}},
      {"trol-1.8b", 4, {"vit", "vision_proj", "ffn", "output", "trol_gating"}},
      {"trol-3.8b", 8, {"vision_model", "vision_proj", "lm_head", "trol_gating"}},
      {"trol-7b", 4, {"vit", "vision_proj", "ffn", "output", "trol_gating"}},
  };
  return rules;
}

const ReleasedQuantization& released_quantization(std::string_view model) {
  const auto& rules = released_quantizations();
  const auto found = std::find_if(rules.begin(), rules.end(),
                                  [&](const auto& rule) { return rule.model == model; });
  if (found == rules.end()) {
    throw Error("quant", std::string(model), "one of the seven released models", "another name");
  }
  return *found;
}

bool is_converted(const ReleasedQuantization& rule, std::string_view layer) {
  return std::none_of(rule.skip.begin(), rule.skip.end(), [&](std::string_view part) {
    return layer.find(part) != std::string_view::npos;
  });
}

}  // namespace revenant
