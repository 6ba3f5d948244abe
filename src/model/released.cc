#include "model/released.h"

#include <algorithm>

#include "base/error.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

constexpr uint64_t shard_5_gb = 5'000'000'000, one_file = UINT64_MAX;

// Phi-3-mini-128k's "su" lists, to the digits that papers.md has (InternVL2-4B's config).
const std::vector<double> short_factors = {
    1.05, 1.05, 1.05, 1.1, 1.1, 1.15, 1.2,  1.25, 1.3,  1.35, 1.5, 2.0, 2.0,  2.0,  2.0,  2.0,
    2.0,  2.0,  2.0,  2.0, 2.0, 2.0,  2.0,  2.0,  2.0,  2.0,  2.0, 2.0, 2.0,  2.0,  2.0,  2.0,
    2.05, 2.05, 2.05, 2.1, 2.1, 2.1,  2.15, 2.15, 2.35, 2.55, 2.6, 2.6, 2.75, 2.85, 2.85, 2.95};
const std::vector<double> long_factors = {
    1.03,  1.05,  1.05,  1.08,  1.23,  1.23,  1.30,  1.45,  1.60,  1.65,  1.90,  2.86,
    3.69,  5.42,  5.49,  5.49,  9.09,  11.58, 15.66, 15.77, 15.79, 18.36, 21.99, 23.08,
    30.01, 32.35, 32.59, 35.56, 39.95, 53.84, 56.20, 57.95, 59.29, 59.77, 59.92, 61.19,
    61.96, 62.50, 63.37, 63.48, 63.48, 63.66, 63.85, 64.08, 64.76, 64.80, 64.81, 64.81};

struct Size {
  int hidden, intermediate, layers, heads, kv_heads;
};

Json with_size(Json llm, const Size& s) {
  llm["hidden_size"] = s.hidden;
  llm["intermediate_size"] = s.intermediate;
  llm["num_hidden_layers"] = s.layers;
  llm["num_attention_heads"] = s.heads;
  llm["num_key_value_heads"] = s.kv_heads;
  llm["hidden_act"] = "silu";
  llm["initializer_range"] = 0.02;
  llm["tie_word_embeddings"] = false;
  return llm;
}

Json qwen2(const Size& s) {
  return with_size({{"architectures", {"Qwen2ForCausalLM"}},
                    {"model_type", "qwen2"},
                    {"attention_dropout", 0.0},
                    {"bos_token_id", 151643},
                    {"eos_token_id", 151645},
                    {"max_position_embeddings", 32768},
                    {"max_window_layers", s.layers},
                    {"rms_norm_eps", 1e-6},
                    {"rope_theta", 1000000.0},
                    {"sliding_window", 32768},
                    {"use_sliding_window", false},
                    {"use_cache", true},
                    {"vocab_size", 151655}},
                   s);
}

Json internlm2(const Size& s) {
  return with_size({{"architectures", {"InternLM2ForCausalLM"}},
                    {"model_type", "internlm2"},
                    {"bias", false},
                    {"bos_token_id", 1},
                    {"eos_token_id", 2},
                    {"pad_token_id", 2},
                    {"max_position_embeddings", 32768},
                    {"rms_norm_eps", 1e-5},
                    {"rope_scaling", {{"factor", 2.0}, {"type", "dynamic"}}},
                    {"rope_theta", 1000000},
                    {"use_cache", true},
                    {"vocab_size", 92553}},
                   s);
}

Json phi3(const Size& s) {
  return with_size(
      {{"architectures", {"Phi3ForCausalLM"}},
       {"model_type", "phi3"},
       {"attention_dropout", 0.0},
       {"embd_pdrop", 0.0},
       {"resid_pdrop", 0.0},
       {"bos_token_id", 1},
       {"eos_token_id", 32000},
       {"pad_token_id", 32000},
       {"max_position_embeddings", 131072},
       {"original_max_position_embeddings", 4096},
       {"rms_norm_eps", 1e-5},
       {"rope_scaling",
        {{"type", "su"}, {"short_factor", short_factors}, {"long_factor", long_factors}}},
       {"rope_theta", 10000.0},
       {"sliding_window", 262144},
       {"use_cache", true},
       {"vocab_size", 32020}},
      s);
}

Json intern_vit() {
  return {{"architectures", {"InternVisionModel"}},
          {"model_type", "intern_vit_300m"},
          {"attention_dropout", 0.0},
          {"drop_path_rate", 0.0},
          {"dropout", 0.0},
          {"hidden_act", "gelu"},
          {"hidden_size", 1024},
          {"image_size", 448},
          {"initializer_factor", 1.0},
          {"initializer_range", 0.02},
          {"intermediate_size", 4096},
          {"layer_norm_eps", 1e-6},
          {"norm_type", "layer_norm"},
          {"num_attention_heads", 16},
          {"num_channels", 3},
          {"num_hidden_layers", 24},
          {"patch_size", 14},
          {"qk_normalization", false},
          {"qkv_bias", true},
          {"use_flash_attn", true}};
}

struct Ids {
  int image, eos;  // image < 0: the loader sets it at run time
};

// Phantom, and TroL-3.8B.
Json nested(const char* type, Json llm, const char* chat, Ids ids) {
  Json config = {
      {"architectures", {type == std::string("trol") ? "TroLForCausalLM" : "PhantomForCausalLM"}},
      {"model_type", type},
      {"downsample_ratio", 0.5},
      {"dynamic_image_size", true},
      {"eos_token_id", ids.eos},
      {"force_image_size", 448},
      {"ignore_index", -100},
      {"llm_config", std::move(llm)},
      {"max_dynamic_patch", 12},
      {"min_dynamic_patch", 1},
      {"pad2square", false},
      {"pad_token_id", ids.eos},
      {"ps_version", "v2"},
      {"select_layer", -1},
      {"template", chat},
      {"use_backbone_lora", 0},
      {"use_llm_lora", 0},
      {"use_thumbnail", true},
      {"vision_config", intern_vit()}};
  if (ids.image >= 0) config["image_token_index"] = ids.image;
  return config;
}

// TroL-1.8B and 7B: InternLM-XComposer2's flat form, no "architectures".
Json flat(const Size& s, double rope_factor) {
  return with_size({{"model_type", "internlm"},
                    {"bias", false},
                    {"bos_token_id", 1},
                    {"eos_token_id", 2},
                    {"pad_token_id", 2},
                    {"img_size", 490},
                    {"max_length", 4096},
                    {"max_position_embeddings", 32768},
                    {"rms_norm_eps", 1e-5},
                    {"rope_scaling", {{"factor", rope_factor}, {"type", "dynamic"}}},
                    {"rope_theta", 1000000},
                    {"use_cache", false},
                    {"vocab_size", 92544}},
                   s);
}

constexpr Size size_0_5b{896, 4864, 24, 14, 2}, size_1_8b{2048, 8192, 24, 16, 8},
    size_3_8b{3072, 8192, 32, 32, 32}, size_7b{4096, 14336, 32, 32, 8};

const std::vector<Released>& table() {
  static const std::vector<Released> all = {
      {"phantom-0.5b", nested("phantom", qwen2(size_0_5b), "Hermes-2", {151648, 151645}),
       shard_5_gb},
      {"phantom-1.8b", nested("phantom", internlm2(size_1_8b), "internlm2-chat", {92546, 92542}),
       shard_5_gb},
      {"phantom-3.8b", nested("phantom", phi3(size_3_8b), "phi3-chat", {32013, 32007}), shard_5_gb},
      {"phantom-7b", nested("phantom", internlm2(size_7b), "internlm2-chat", {92546, 92542}),
       shard_5_gb},
      {"trol-1.8b", flat(size_1_8b, 2.0), shard_5_gb},
      {"trol-3.8b", nested("trol", phi3(size_3_8b), "phi3-chat", {-1, 2}), shard_5_gb},
      {"trol-7b", flat(size_7b, 1.0), one_file},
  };
  return all;
}

}  // namespace

const std::vector<std::string>& released_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Released& model : table()) list.push_back(model.name);
    return list;
  }();
  return names;
}

Released released(std::string_view name) {
  for (const Released& model : table())
    if (model.name == name) return model;
  std::string names;
  for (const std::string& known : released_names()) names += (names.empty() ? "" : ", ") + known;
  throw Error("released", "architecture", "one of " + names, std::string(name));
}

}  // namespace revenant
