#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "engine/look.h"

namespace revenant {
namespace {

using nlohmann::json;

double rounded(float x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", double(x));
  return std::strtod(text, nullptr);
}

json nested(const Numbers& n, size_t dimension, size_t& at) {
  json out = json::array();
  for (size_t i = 0; i < n.shape[dimension]; ++i)
    out.push_back(dimension + 1 < n.shape.size() ? nested(n, dimension + 1, at)
                                                 : json(rounded(n.values[at++])));
  return out;
}

json nested(const Numbers& n) {
  size_t at = 0;
  return n.shape.empty() ? json::array() : nested(n, 0, at);
}

json nested(const std::vector<Numbers>& all) {
  json out = json::array();
  for (const Numbers& n : all) out.push_back(nested(n));
  return out;
}

}  // namespace

json to_json(const Look& look, const Config& c) {
  json out = {{"format", "revenant-look-1"},
              {"model",
               {{"architecture", c.architecture},
                {"backbone", name_of(c.backbone)},
                {"layers", c.layers},
                {"heads", c.heads},
                {"kv_heads", c.kv_heads},
                {"head_dim", c.head_dim},
                {"phantom_eta", c.phantom.on ? json(c.phantom.eta) : json()},
                {"trol_passes", c.trol.on ? json(c.trol.passes) : json()}}},
              {"prompt_tokens", look.prompt},
              {"ids", look.ids},
              {"stopped", look.stopped},
              {"attention", nested(look.attention)}};
  if (c.trol.on) out["trol"] = {{"gate", nested(look.trol_gate)}};
  const LookGhosts& g = look.ghosts;
  if (c.phantom.on)
    out["phantom"] = {
        {"half_weight", nested(g.half_weight)},     {"value_by_head", nested(g.value_by_head)},
        {"value_by_row", nested(g.value_by_row)},   {"output_by_head", nested(g.output_by_head)},
        {"output_by_row", nested(g.output_by_row)}, {"score_by_head", nested(g.score_by_head)}};
  return out;
}

}  // namespace revenant
