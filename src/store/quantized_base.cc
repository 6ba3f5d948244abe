#include "store/quantized_base.h"

#include "base/error.h"
#include "base/json.h"
#include "quant/int8.h"
#include "quant/nf4.h"
#include "quant/released.h"

namespace revenant {
namespace {

using Json = nlohmann::json;
using Kind = QuantizedBase::Kind;

// What a loader sees as a linear layer, by its name without ".weight".
std::map<std::string, TensorSpec> linear_layers(const Config& config) {
  constexpr std::string_view suffix = ".weight";
  std::map<std::string, TensorSpec> layers;
  for (const TensorSpec& spec : tensor_table(config)) {
    const bool multiplies = spec.role == Role::linear || spec.role == Role::mixer ||
                            spec.role == Role::gate || spec.role == Role::lora;
    if (multiplies && spec.stored_shape.size() == 2 && spec.stored.ends_with(suffix))
      layers.emplace(spec.stored.substr(0, spec.stored.size() - suffix.size()), spec);
  }
  return layers;
}

QuantizedBase base_of(const Config& config, Kind kind,
                      const std::function<bool(const std::string&, const TensorSpec&)>& chosen) {
  QuantizedBase base{kind, {}};
  for (const auto& [layer, spec] : linear_layers(config))
    if (chosen(layer, spec)) base.matrices.insert(spec.stored);
  return base;
}

// The loaders of a family's sizes convert the same layers.
std::string_view released_like(const Config& config) {
  switch (prompt_family(config)) {
    case PromptFamily::phantom_qwen2:
      return "phantom-0.5b";
    case PromptFamily::phantom_internlm2:
      return "phantom-7b";
    case PromptFamily::phantom_phi3:
      return "phantom-3.8b";
    case PromptFamily::trol_internlm2:
      return "trol-7b";
    case PromptFamily::trol_phi3:
      return "trol-3.8b";
  }
  CHECK(false);
}

}  // namespace

const char* name_of(Kind kind) { return kind == Kind::int8 ? "int8" : "nf4"; }

QuantizedBase paper_base(const Config& config, Kind kind) {
  return base_of(config, kind, [](const std::string&, const TensorSpec& spec) {
    return spec.role == Role::linear && spec.name.find("blk.") != spec.name.npos;
  });
}

QuantizedBase released_base(const Config& config) {
  const ReleasedQuantization& rule = released_quantization(released_like(config));
  return base_of(config, rule.bits == 8 ? Kind::int8 : Kind::nf4,
                 [&](const std::string& layer, const TensorSpec& spec) {
                   // No loader converts a mechanism; each knows the names of its own alone.
                   const bool mechanism = spec.role == Role::mixer || spec.role == Role::gate;
                   return !mechanism && is_converted(rule, layer);
                 });
}

Json quantization_config(const QuantizedBase& base, const Config& config) {
  Json json = {{"quant_method", "bitsandbytes"}};
  if (base.kind == Kind::int8) json["load_in_8bit"] = true;
  if (base.kind == Kind::nf4)
    json.update({{"load_in_4bit", true},
                 {"bnb_4bit_quant_type", "nf4"},
                 {"bnb_4bit_use_double_quant", true}});
  json["llm_int8_skip_modules"] = Json::array();
  for (const auto& [layer, spec] : linear_layers(config))
    if (!base.matrices.contains(spec.stored)) json["llm_int8_skip_modules"].push_back(layer);
  return json;
}

QuantizedBase quantized_base(const Json& json, const Config& config, const std::string& file) {
  for (const Kind kind : {Kind::int8, Kind::nf4}) {
    std::set<std::string> skipped;
    if (json.is_object() && json.contains("llm_int8_skip_modules"))
      for (const Json& layer : json["llm_int8_skip_modules"])
        if (layer.is_string()) skipped.insert(layer.get<std::string>());
    const QuantizedBase base = base_of(
        config, kind,
        [&](const std::string& layer, const TensorSpec&) { return !skipped.contains(layer); });
    if (quantization_config(base, config) == json) return base;
  }
  throw Error("adapter", file + ": quantization_config", "as a run of `quantize` writes it",
              shown(json));
}

std::vector<float> as_quantized(Kind kind, const std::vector<float>& values, int64_t rows,
                                int64_t columns) {
  return kind == Kind::int8 ? dequantize_int8(quantize_int8(values, rows, columns))
                            : dequantize_nf4(quantize_nf4_double(values));
}

}  // namespace revenant
