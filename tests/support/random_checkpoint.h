// Writes small checkpoints of random weights in the released layout, with a tokenizer.
#pragma once

#include <cmath>
#include <functional>
#include <set>

#include "base/random.h"
#include "io/checkpoint.h"
#include "model/weights.h"
#include "text/train_bpe.h"

namespace revenant {

// Makes something particular of a tensor's values.
using ChangeValues = std::function<void(const TensorSpec&, std::vector<float>&)>;

// One tensor for each that `config` stores; norms near 1, all else small.
inline void write_random_checkpoint(const Path& directory, const nlohmann::json& json,
                                    uint64_t seed, const ChangeValues& change = {}) {
  const Config config = parse_config(json, "test");
  Random random(seed);
  std::set<std::string> seen;
  std::vector<TensorSource> sources;
  for (const TensorSpec& spec : tensor_table(config)) {
    if (!seen.insert(spec.stored).second) continue;
    std::vector<float> values;
    const double spread = 1 / std::sqrt(double(spec.shape.back()));
    for (int64_t i = 0; i < TensorSpec::count(spec.stored_shape); ++i)
      values.push_back(
          float(spec.role == Role::norm ? 1 + 0.1 * random.normal() : spread * random.normal()));
    if (change) change(spec, values);
    sources.push_back({spec.stored, DType::f32, spec.stored_shape,
                       [values](const Sink& sink) { sink(std::as_bytes(std::span(values))); }});
  }
  write_checkpoint(directory, json, sources);
}

// A Phantom on Qwen2 with tiles of 56 pixels, four tokens each; it knows bytes and its template.
inline void write_random_phantom(const Path& directory, uint64_t seed,
                                 const ChangeValues& change = {}) {
  const std::vector<std::string> specials = {"<|im_start|>", "<|im_end|>", "<img>", "</img>",
                                             "<IMG_CONTEXT>"};
  const std::vector<std::string> texts = {"what is in this picture"};
  const nlohmann::json json = {{"model_type", "phantom"},
                               {"image_token_index", 260},
                               {"eos_token_id", 257},
                               {"force_image_size", 56},
                               {"vision_config",
                                {{"hidden_size", 16},
                                 {"intermediate_size", 32},
                                 {"num_hidden_layers", 1},
                                 {"num_attention_heads", 2},
                                 {"patch_size", 14},
                                 {"image_size", 56},
                                 {"layer_norm_eps", 1e-6}}},
                               {"llm_config",
                                {{"model_type", "qwen2"},
                                 {"vocab_size", 261},
                                 {"hidden_size", 32},
                                 {"intermediate_size", 48},
                                 {"num_hidden_layers", 2},
                                 {"num_attention_heads", 2},
                                 {"num_key_value_heads", 1},
                                 {"rope_theta", 10000.0},
                                 {"rms_norm_eps", 1e-6}}}};
  std::filesystem::create_directories(directory);
  write_random_checkpoint(directory, json, seed, change);
  write_file(directory / "tokenizer.json", train_byte_bpe(texts, 261, specials));
}

}  // namespace revenant
