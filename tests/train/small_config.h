// The config of a Phantom small enough to train in a test.
#pragma once

#include <nlohmann/json.hpp>

namespace revenant {

// One tower layer and one language layer or more; `vocab_size` and the token ids are not in it.
inline nlohmann::json small_config() {
  return {{"model_type", "phantom"},
          {"force_image_size", 32},
          {"vision_config",
           {{"hidden_size", 16},
            {"intermediate_size", 24},
            {"num_hidden_layers", 1},
            {"num_attention_heads", 2},
            {"patch_size", 8},
            {"image_size", 32}}},
          {"llm_config",
           {{"model_type", "qwen2"},
            {"hidden_size", 32},
            {"intermediate_size", 48},
            {"num_hidden_layers", 2},
            {"num_attention_heads", 2},
            {"num_key_value_heads", 1}}},
          {"revenant", {{"phantom_eta", 1.0}, {"max_tiles", 1}}}};
}

// The same with the ids that a run takes from its tokenizer.
inline nlohmann::json small_config_with_ids() {
  nlohmann::json config = small_config();
  config["image_token_index"] = 5;
  config["llm_config"]["vocab_size"] = 40;
  return config;
}

// A plain model over InternLM2 with a CLIP tower and the picture's low-rank branches, fused q, k,
// v.
inline nlohmann::json small_clip_config() {
  return {{"model_type", "internlm"},
          {"vocab_size", 40},
          {"hidden_size", 32},
          {"intermediate_size", 48},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 1},
          {"max_position_embeddings", 128},
          {"rope_theta", 10000.0},
          {"rms_norm_eps", 1e-6},
          {"img_size", 56},
          {"image_lora_rank", 5},
          {"image_token_index", 40},
          {"bias", false},
          {"vision_config",
           {{"hidden_size", 24},
            {"intermediate_size", 40},
            {"num_hidden_layers", 1},
            {"num_attention_heads", 2},
            {"patch_size", 14},
            {"image_size", 56}}},
          {"revenant", {{"phantom", false}, {"trol", true}}}};
}

}  // namespace revenant
