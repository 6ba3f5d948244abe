#include <charconv>
#include <nlohmann/json.hpp>

#include "engine/look.h"
#include "image/tiles.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace revenant {
namespace {

using nlohmann::json;

double rounded(float x) {
  char text[32];
  const auto written =
      std::to_chars(text, text + sizeof text, double(x), std::chars_format::general, 4);
  double rounded = 0;
  std::from_chars(text, written.ptr, rounded);
  return rounded;
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

// How a picture's tokens lie over it: tile by tile, each tile row by row, the thumbnail last.
json picture_json(const Model& model, std::pair<int, int> size, std::pair<int, int> rows) {
  const TileRule rule = model.tile_rule();
  const auto [width, height] = size;
  const Grid grid = rule.whole ? Grid{} : choose_grid(width, height, rule);
  const Config& c = model.config();
  return {{"width", width},
          {"height", height},
          {"columns", grid.columns},
          {"rows", grid.rows},
          {"thumbnail", rows.second - rows.first > grid.cells() * c.tokens_per_tile()},
          {"tile_side", c.vision.grid() / c.shuffle},
          {"first_row", rows.first},
          {"tokens", rows.second - rows.first}};
}

// Text that is only complete with a later token stands at that one.
json tokens_json(const Model& model, const Look& look) {
  json tokens = json::array();
  StreamDecoder decoder(model.speech().tokenizer, true);
  const int n = int(look.ids.size());
  for (int i = 0; i < n; ++i) {
    const int id = look.ids[size_t(i)];
    const bool picture = i < look.prompt && id == model.image_token();
    if (i == look.prompt) decoder = {model.speech().tokenizer, true};
    std::string text = decoder.push(id);
    if (i + 1 == n || i + 1 == look.prompt) text += decoder.finish();
    tokens.push_back({{"id", id},
                      {"text", picture ? "" : text},
                      {"kind", picture           ? "picture"
                               : i < look.prompt ? "prompt"
                                                 : "answer"}});
  }
  return tokens;
}

// The numbers.
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

}  // namespace

json look_json(const Model& model, const Look& seen, const LookAbout& about) {
  const Speech& speech = model.speech();
  json out = to_json(seen, model.config());
  out["model"]["name"] = about.name;
  out["question"] = repaired(about.question);  // as the model sees it
  out["answer"] = filter_output(
      speech.rule,
      speech.tokenizer.decode(std::span(seen.ids).subspan(size_t(seen.prompt)), false));
  out["tokens"] = tokens_json(model, seen);
  out["pictures"] = json::array();
  for (size_t i = 0; i < about.sizes.size(); ++i)
    out["pictures"].push_back(picture_json(model, about.sizes[i], about.spans[i]));
  return out;
}

size_t look_numbers(const Config& c, size_t prompt, size_t answer, bool heads) {
  const size_t layers = size_t(c.layers), rows = prompt + answer,
               each = heads ? size_t(c.heads) : 1;
  const size_t attention = answer * layers * each * (prompt + answer / 2);
  const size_t gates = c.trol.on ? size_t(c.trol.passes - 1) * layers * rows : 0;
  const size_t ghosts = c.phantom.on ? layers * (rows + 4) * size_t(c.heads + 2) : 0;
  return attention + gates + ghosts;
}

}  // namespace revenant
