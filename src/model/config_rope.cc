#include "model/config_rope.h"

namespace revenant {
namespace {

constexpr int most_positions = 1 << 30;

// transformers 5 keeps in "rope_parameters" what 4 keeps in "rope_scaling" and beside it, under
// `rope_type` what was once `type`. A key may stand in several places if they say the same.
struct RopeFields {
  Fields llm, scaling, parameters;
  explicit RopeFields(const Fields& f)
      : llm(f),
        scaling(f.object_if_any("rope_scaling")),
        parameters(f.object_if_any("rope_parameters")) {}

  const Fields& with(const char* key) const {
    const Fields* found = nullptr;
    for (const Fields* place : {&llm, &scaling, &parameters}) {
      if (!place->has(key)) continue;
      if (found && found->json[key] != place->json[key])
        place->fail(key, shown(found->json[key]) + ", as " + (found->place / key).inside + " says");
      found = place;
    }
    return found                      ? *found
           : !parameters.json.empty() ? parameters
           : !scaling.json.empty()    ? scaling
                                      : llm;
  }
  std::string type() const {
    std::string found;
    for (const Fields* place : {&scaling, &parameters})
      for (const char* key : {"type", "rope_type"}) {
        std::string type = place->text(key);
        if (type == "longrope") type = "su";  // two names of one rule
        if (!found.empty() && !type.empty() && type != found) place->fail(key, found);
        if (!type.empty()) found = type;
      }
    const bool said = !scaling.json.empty();
    if (found.empty() && said) scaling.fail("type", "dynamic, su, longrope or default");
    return found.empty() ? "default" : found;
  }
  void only(Names known) const {
    for (const char* key : {"type", "rope_type", "rope_theta", "partial_rotary_factor"})
      known.push_back(key);
    scaling.keys(known);
    parameters.keys(known);
  }
};

void parse_dynamic(const RopeFields& f, RopeConfig& rope) {
  f.only({"factor", "original_max_position_embeddings"});
  rope.kind = RopeConfig::dynamic;
  rope.factor = f.with("factor").positive("factor");
  rope.max_position = f.llm.size("max_position_embeddings", {}, most_positions);
  // transformers stretches from max_position_embeddings on, and reads this one for other rules.
  const char* original = "original_max_position_embeddings";
  f.with(original).fixed(original, rope.max_position);
}

void parse_su(const RopeFields& f, int head_dim, RopeConfig& rope) {
  f.only({"factor", "original_max_position_embeddings", "attention_factor", "short_factor",
          "long_factor"});
  rope.kind = RopeConfig::su;
  rope.short_factors = f.with("short_factor").positives("short_factor", size_t(head_dim / 2));
  rope.long_factors = f.with("long_factor").positives("long_factor", size_t(head_dim / 2));
  rope.max_position = f.llm.size("max_position_embeddings", {}, most_positions);
  const char* original = "original_max_position_embeddings";
  const Fields& place = f.with(original);
  rope.original_max_position = place.size(original, {}, most_positions);
  if (rope.original_max_position < 2)  // the rule divides by its logarithm
    place.fail(original, "an integer above 1");
  const Fields& attention = f.with("attention_factor");
  if (attention.has("attention_factor"))
    rope.attention_factor = attention.positive("attention_factor");
  // Versions differ in which of the two counts; they may not contradict each other.
  const double ratio = double(rope.max_position) / rope.original_max_position;
  const double factor = f.with("factor").positive("factor", ratio);
  if (rope.attention_factor == 0 && std::abs(factor - ratio) > 1e-6 * ratio)
    f.with("factor").fail("factor", "max_position_embeddings / original_max_position_embeddings, " +
                                        std::to_string(ratio));
}

}  // namespace

RopeConfig parse_rope(const Fields& llm, int head_dim, std::vector<std::string>& warnings) {
  const RopeFields f(llm);
  RopeConfig rope;
  if (!f.with("rope_theta").has("rope_theta"))
    warnings.push_back((llm.place / "rope_theta").text() + ": nothing, taken as 10000");
  rope.theta = f.with("rope_theta").positive("rope_theta", 10000);
  rope.max_position = llm.size("max_position_embeddings", 2048, most_positions);
  f.with("partial_rotary_factor").fixed("partial_rotary_factor", 1);
  const std::string type = f.type();
  if (type == "dynamic")
    parse_dynamic(f, rope);
  else if (type == "su")
    parse_su(f, head_dim, rope);
  else if (type == "default")
    f.only({});
  else
    f.with("rope_type")
        .fail(f.scaling.has("type") ? "type" : "rope_type", "dynamic, su, longrope or default");
  return rope;
}

}  // namespace revenant
