#include "model/config.h"

#include <algorithm>

#include "model/config_rope.h"
#include "model/generation.h"
#include "model/unread.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

constexpr int most_passes = 16;  // bounds the caches; the paper tries up to 4
constexpr int most_tiles = 64;   // as `revenant tiles --max-tiles`
// Far above any model: products of sizes stay within an int, and a table of tensors within memory.
constexpr int most_positions = 1 << 30, most_layers = 1 << 12, most_side = 1 << 14,
              most_shuffle = 64, most_head_dim = 256,  // kernels/kernels.h
    most_intermediate = 1 << 20, most_tokens = 1 << 24;

struct KnownBackbone {
  Backbone backbone;
  const char *type, *architecture;
};
constexpr KnownBackbone backbones[] = {{Backbone::qwen2, "qwen2", "Qwen2ForCausalLM"},
                                       {Backbone::internlm2, "internlm2", "InternLM2ForCausalLM"},
                                       {Backbone::internlm2, "internlm", "InternLM2ForCausalLM"},
                                       {Backbone::phi3, "phi3", "Phi3ForCausalLM"},
                                       {Backbone::llama, "llama", "LlamaForCausalLM"}};

Backbone parse_backbone(const Fields& llm) {
  const std::string type = llm.text("model_type");
  const auto found = std::ranges::find(backbones, type, &KnownBackbone::type);
  if (found == std::end(backbones)) llm.fail("model_type", "qwen2, internlm2, phi3 or llama");
  if (!llm.place.inside.empty())
    llm.architecture({found->architecture});  // flat: the root's own name
  return found->backbone;
}

double epsilon(const Fields& fields, const char* key, double usual, Config& c) {
  if (!fields.has(key))
    c.warnings.push_back((fields.place / key).text() + ": nothing, taken as " + shown(usual));
  return fields.positive(key, usual);
}

// Every row attends to all before it. A window that is no shorter than what the model is made for,
// or that Qwen2 switches off, changes nothing.
void check_window(const Fields& llm, const Config& c) {
  const bool off = c.backbone == Backbone::qwen2 && !llm.flag("use_sliding_window", false);
  const bool wide = !llm.has("sliding_window") ||
                    llm.size("sliding_window", {}, most_positions) >= c.rope.max_position;
  if (!off && !wide)
    llm.fail("sliding_window", "at least " + std::to_string(c.rope.max_position) +
                                   ", max_position_embeddings (windows are not computed)");
  if (!llm.has("layer_types")) return;
  const Json& types = llm.json["layer_types"];
  const auto full = [&](const Json& type) {
    return type == "full_attention" || (wide && type == "sliding_attention");
  };
  if (!types.is_array() || !std::ranges::all_of(types, full))
    llm.fail("layer_types", "full_attention in every layer");
}

void parse_language(const Fields& llm, Config& c) {
  c.backbone = parse_backbone(llm);
  c.vocab = c.embedding_rows = llm.size("vocab_size", {}, most_tokens);
  c.hidden = llm.size("hidden_size");
  c.intermediate = llm.size("intermediate_size", {}, most_intermediate);
  c.layers = llm.size("num_hidden_layers", {}, most_layers);
  c.heads = llm.size("num_attention_heads");
  c.kv_heads = llm.size("num_key_value_heads", c.heads);
  c.head_dim = llm.size("head_dim", c.hidden / c.heads);
  if (c.heads % c.kv_heads != 0)
    llm.fail("num_key_value_heads", "a divisor of num_attention_heads");
  if (c.head_dim % 2 != 0 || c.head_dim > most_head_dim)
    llm.fail(llm.has("head_dim") ? "head_dim" : "hidden_size",
             "an even number of dimensions a head, at most " + std::to_string(most_head_dim));
  c.rms_eps = epsilon(llm, "rms_norm_eps", c.backbone == Backbone::phi3 ? 1e-5 : 1e-6, c);
  llm.one_of("hidden_act", {"silu", "swish"});  // two names of one function
  c.qkv_bias = c.backbone == Backbone::qwen2;
  for (const char* bias : {"bias", "attention_bias"})  // qwen2 has them whatever its file says
    if (c.backbone != Backbone::qwen2) llm.fixed(bias, false);
  llm.fixed("mlp_bias", false);
  c.tied_output = llm.flag("tie_word_embeddings", false);
  if (c.backbone != Backbone::qwen2 && c.backbone != Backbone::llama)
    c.padding_index = llm.integer("pad_token_id", -1);
  c.rope = parse_rope(llm, c.head_dim, c.warnings);
  check_window(llm, c);
}

void parse_shuffle(const Fields& root, Config& c) {
  root.one_of("ps_version", {"v1", "v2"});  // the released code reads it and computes v2
  const double ratio = root.number("downsample_ratio", 0.5);
  const double sides = ratio >= 1.0 / most_shuffle && ratio <= 1 ? std::round(1 / ratio) : 0;
  if (sides == 0 || std::abs(ratio * sides - 1) > 0.02)
    root.fail("downsample_ratio", "1 / n with n an integer in [1, 64]");
  c.shuffle = int(sides);
}

void parse_intern_vit(const Fields& root, Config& c) {
  const Fields v = root.object("vision_config");
  v.architecture({"InternVisionModel"});
  if (!v.text("model_type", "intern_vit").starts_with("intern_vit"))
    v.fail("model_type", "intern_vit_6b, intern_vit_300m or the like");
  v.fixed("hidden_act", "gelu");
  v.fixed("norm_type", "layer_norm");
  v.fixed("qk_normalization", false);
  v.fixed("qkv_bias", true);
  v.fixed("num_channels", 3);
  c.vision = {Tower::intern_vit,
              v.size("hidden_size"),
              v.size("intermediate_size", {}, most_intermediate),
              v.size("num_hidden_layers", {}, most_layers),
              v.size("num_attention_heads"),
              v.size("patch_size"),
              v.size("image_size", {}, most_side),
              epsilon(v, "layer_norm_eps", 1e-6, c)};
  c.vision.image = root.size("force_image_size", c.vision.image, most_side);
  parse_shuffle(root, c);
  // The released code fixes 6 tiles, whatever `max_dynamic_patch` says (papers.md, 3.2); only the
  // extension object changes it.
  c.max_tiles = 6;
  c.thumbnail = root.flag("use_thumbnail", true);
  root.fixed("select_layer", -1);
}

// TroL-1.8B/7B say only the picture's size; the tower is CLIP-L/14 unless `vision_config` says
// else.
void parse_clip(const Fields& root, Config& c) {
  const Fields v = root.object_if_any("vision_config");
  v.architecture({"CLIPVisionModel"});
  v.one_of("model_type", {"clip_vision_model"});
  v.fixed("hidden_act", "quick_gelu");
  v.fixed("num_channels", 3);
  c.vision = {Tower::clip,
              v.size("hidden_size", 1024),
              v.size("intermediate_size", 4096, most_intermediate),
              v.size("num_hidden_layers", 24, most_layers),
              v.size("num_attention_heads", 16),
              v.size("patch_size", 14),
              root.size("img_size", 490, most_side),
              v.positive("layer_norm_eps", 1e-5)};
  c.shuffle = 1;
  c.max_tiles = 1;
  c.thumbnail = false;
  c.embedding_rows = c.vocab + 1;
  c.image_lora_rank = root.size("image_lora_rank", 256);
}

// One of the values by its name; the first is meant where the file says nothing.
template <class T>
T choice(const Fields& x, const char* key, std::initializer_list<T> values) {
  const std::string name = x.text(key, name_of(*values.begin()));
  Names names;
  for (const T value : values) {
    if (name_of(value) == name) return value;
    names.push_back(name_of(value));
  }
  x.fail(key, listed(names));
}

// Keys that say nothing without their mechanism.
void check_on(const Fields& x, bool on, const char* mechanism,
              std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (!on && x.has(key)) x.fail(key, std::string("a model with ") + mechanism);
}

void parse_phantom(const Fields& x, PhantomConfig& phantom) {
  phantom.eta = x.number("phantom_eta", 1e-4);
  if (phantom.eta < 0) x.fail("phantom_eta", "a number of at least 0");
  phantom.eta_learnable = x.flag("phantom_eta_learnable", false);
  phantom.anchor = choice(x, "phantom_anchor", {AnchorOf::first, AnchorOf::learned, AnchorOf::own});
  phantom.widen = x.flag("phantom_widen", true);
  if (!phantom.widen && phantom.eta_learnable)
    x.fail("phantom_widen", "true, with phantom_eta_learnable");
  phantom.mixing =
      choice(x, "phantom_mixing", {PhantomMixing::gated, PhantomMixing::sum, PhantomMixing::mean});
  // A model of another way may be switched off to compare.
  check_on(x, phantom.on || phantom.switched_off, "Phantom",
           {"phantom_anchor", "phantom_widen", "phantom_mixing"});
}

void parse_trol(const Fields& x, TrolConfig& trol) {
  trol.passes = x.size("trol_passes", 2, most_passes);
  trol.threshold = x.number("trol_threshold", 0);
  if (trol.threshold < 0 || trol.threshold > 1) x.fail("trol_threshold", "a number from 0 to 1");
  trol.traverse = choice(x, "trol_traverse", {Traverse::prompt, Traverse::off, Traverse::all});
  trol.mixing =
      choice(x, "trol_mixing",
             {TrolMixing::gated, TrolMixing::constant, TrolMixing::uniform, TrolMixing::second});
  check_on(x, trol.on, "TroL", {"trol_traverse", "trol_passes", "trol_threshold"});
  check_on(x, trol.on || trol.switched_off, "TroL", {"trol_mixing"});
}

void parse_extension(const Fields& root, Config& c) {
  const Fields x = root.object_if_any("revenant");
  x.keys({"phantom", "phantom_eta", "phantom_eta_learnable", "phantom_anchor", "phantom_widen",
          "phantom_mixing", "trol", "trol_passes", "trol_traverse", "trol_threshold", "trol_gate",
          "trol_mixing", "max_tiles"});
  const std::string type = root.text("model_type");
  c.phantom.on = x.flag("phantom", type == "phantom");
  c.phantom.switched_off = x.has("phantom") && !c.phantom.on;
  parse_phantom(x, c.phantom);
  c.trol.on = x.flag("trol", type == "trol" || type == "internlm");
  c.trol.switched_off = x.has("trol") && !c.trol.on;
  parse_trol(x, c.trol);
  x.one_of("trol_gate", {"tied", "per_layer"});
  c.trol.gate_per_layer = x.text("trol_gate") == "per_layer";
  c.max_tiles = x.size("max_tiles", c.max_tiles, most_tiles);
  c.architecture =
      c.phantom.on ? (c.trol.on ? "phantom-trol" : "phantom") : (c.trol.on ? "trol" : "revenant");
}

void check_geometry(const Fields& root, const Config& c) {
  const VisionConfig& v = c.vision;
  if (v.image % v.patch != 0 || v.grid() % c.shuffle != 0)
    (root.place / "image size")
        .fail("a multiple of patch * " + std::to_string(c.shuffle), std::to_string(v.image));
  const Place heads = root.place / "vision_config" / "num_attention_heads";
  if (v.hidden % v.heads != 0)
    heads.fail("a divisor of " + std::to_string(v.hidden), std::to_string(v.heads));
  if (v.hidden / v.heads > most_head_dim)
    heads.fail("at most " + std::to_string(most_head_dim) + " dimensions a head",
               std::to_string(v.hidden / v.heads));
}

void check_architecture(const Fields& root, const std::string& type) {
  const std::string phantom = "PhantomForCausalLM", trol = "TroLForCausalLM";
  const std::string vl = "InternVLChatModel",
                    composer = "InternLMXComposer2ForCausalLM";  // origins
  if (type == "phantom") root.architecture({phantom, vl});
  if (type == "trol") root.architecture({trol, vl});
  if (type == "internlm") root.architecture({trol, composer});
  if (type == "revenant") root.architecture({phantom, trol});
  for (const KnownBackbone& known : backbones)
    if (type == known.type && type != "internlm") root.architecture({known.architecture});
}

// What transformers writes into every object. Generation is the root's and, with the released code,
// its language model's.
void parse_common(const Fields& root, Config& c) {
  const Fields llm = root.object_if_any("llm_config"), tower = root.object_if_any("vision_config");
  for (const Fields& fields : {root, llm, tower}) {
    fields.fixed("add_cross_attention", false);
    fields.fixed("pruned_heads", Json::object());
  }
  for (const Fields& fields : {root, llm})
    for (const std::string& told : check_generation(fields)) c.warnings.push_back(told);
  c.eos_tokens = root.ids("eos_token_id");
  if (const std::string unread = unread_keys({root, llm, tower}); !unread.empty())
    c.warnings.push_back(unread);
}

Config parse(const Json& json, const std::string& subject, std::set<std::string>& asked) {
  const Fields root{json, {"config", subject}, asked};
  if (!json.is_object()) root.place.fail("a JSON object", json.type_name());
  const std::string type = root.text("model_type");
  check_architecture(root, type);
  // Weights of other number formats; adapters that the released code would put around the layers.
  if (root.has("quantization_config"))
    root.fail("quantization_config", "nothing (weights of 16 or 32 bits)");
  for (const char* key : {"use_backbone_lora", "use_llm_lora"}) root.fixed(key, 0);
  Config c;
  if (type == "internlm") {
    parse_language(root, c);
    parse_clip(root, c);
  } else if (type == "phantom" || type == "trol" || type == "revenant") {
    parse_language(root.object("llm_config"), c);
    parse_intern_vit(root, c);
  } else if (std::ranges::find(backbones, type, &KnownBackbone::type) != std::end(backbones)) {
    parse_language(root, c);
    c.vision.kind = Tower::none;
  } else {
    root.fail(
        "model_type",
        "phantom, trol, internlm (TroL-1.8B/7B), revenant, or qwen2, internlm2, phi3 or llama "
        "(text only)");
  }
  parse_extension(root, c);
  c.image_token = root.integer("image_token_index", -1);
  parse_common(root, c);
  if (c.vision.kind != Tower::none) check_geometry(root, c);
  return c;
}

// A setting that nothing reads is a slip of the pen. What is wrong otherwise, the caller's
// parse_config says in the file's name.
void check_read(const Json& json, const std::vector<std::string>& settings) {
  std::set<std::string> asked;
  try {
    parse(json, "", asked);
  } catch (const Error&) {
    return;
  }
  for (const std::string& setting : settings) {
    const std::string path = setting.substr(0, setting.find('='));
    const auto within = [&](const std::string& key) {
      return key == path || key.starts_with(path + ".");
    };
    if (std::ranges::none_of(asked, within))
      throw Error("config", "setting", "a key that this model's configuration has", path);
  }
}

// JSON where it is, else a text.
Json value_of(const std::string& text) {
  try {
    return parse_json(text, {"config", "setting"});
  } catch (const Error&) {
    return text;
  }
}

}  // namespace

Config parse_config(const Json& json, const std::string& subject) {
  std::set<std::string> asked;
  return parse(json, subject, asked);
}

Json with_settings(Json json, const std::vector<std::string>& settings) {
  if (!json.is_object()) return json;  // parse_config says so in the file's name
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0)
      throw Error("config", "setting", "key=value", setting);
    Json* place = &json;
    std::string key = setting.substr(0, equals);
    for (size_t dot; (dot = key.find('.')) != std::string::npos; key = key.substr(dot + 1)) {
      place = &(*place)[key.substr(0, dot)];
      if (!place->is_object() && !place->is_null())
        throw Error("config", setting, "a path through objects", place->type_name());
    }
    const std::string value = setting.substr(equals + 1);
    (*place)[key] = value_of(value);
  }
  if (!settings.empty()) check_read(json, settings);
  return json;
}

TileRule tile_rule(const Config& c) {
  if (c.vision.kind == Tower::clip) return clip_rule(c.vision.image);
  return {.size = c.vision.image, .max_tiles = c.max_tiles, .thumbnail = c.thumbnail};
}

const char* name_of(Backbone backbone) {
  switch (backbone) {
    case Backbone::qwen2:
      return "qwen2";
    case Backbone::internlm2:
      return "internlm2";
    case Backbone::phi3:
      return "phi3";
    case Backbone::llama:
      return "llama";
  }
  return "?";
}

const char* name_of(Traverse traverse) {
  switch (traverse) {
    case Traverse::off:
      return "off";
    case Traverse::prompt:
      return "prompt";
    case Traverse::all:
      return "all";
  }
  return "?";
}

const char* name_of(AnchorOf anchor) {
  return anchor == AnchorOf::first ? "first" : anchor == AnchorOf::learned ? "learned" : "own";
}

const char* name_of(PhantomMixing mixing) {
  return mixing == PhantomMixing::gated ? "gated" : mixing == PhantomMixing::sum ? "sum" : "mean";
}

const char* name_of(TrolMixing mixing) {
  switch (mixing) {
    case TrolMixing::gated:
      return "gated";
    case TrolMixing::constant:
      return "constant";
    case TrolMixing::uniform:
      return "uniform";
    case TrolMixing::second:
      return "second";
  }
  return "?";
}

PromptFamily prompt_family(const Config& c) {
  const bool trol_template = c.trol.on && !c.phantom.on;
  switch (c.backbone) {
    case Backbone::internlm2:
      return trol_template ? PromptFamily::trol_internlm2 : PromptFamily::phantom_internlm2;
    case Backbone::phi3:
      return trol_template ? PromptFamily::trol_phi3 : PromptFamily::phantom_phi3;
    case Backbone::qwen2:
    case Backbone::llama:
      break;
  }
  return PromptFamily::phantom_qwen2;
}

}  // namespace revenant
