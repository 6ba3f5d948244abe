#include "model/unread.h"

#include <algorithm>

#include "model/generation.h"

namespace revenant {
namespace {

// Kept by transformers and the released code for themselves, or of training, or the store's type:
// no number that the forward gives depends on these (docs/config.md).
const Names changes_nothing = {
    // transformers, any model
    "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path",
    "attn_implementation", "auto_map", "bos_token_id", "chunk_size_feed_forward",
    "cross_attention_hidden_size", "dtype", "finetuning_task", "id2label", "ignore_index",
    "is_decoder", "is_encoder_decoder", "label2id", "name_or_path", "pad_token_id", "prefix",
    "problem_type", "return_dict", "sep_token_id", "task_specific_params", "tf_legacy_loss",
    "tie_encoder_decoder", "tie_word_embeddings", "tokenizer_class", "torch_dtype", "torchscript",
    "transformers.js_config", "unsloth_version", "use_bfloat16", "use_return_dict",
    // language models
    "attention_dropout", "embd_pdrop", "initializer_range", "max_window_layers",
    "original_max_position_embeddings", "pretraining_tp", "resid_pdrop", "sliding_window",
    "eos_token_id",
    // towers
    "drop_path_rate", "dropout", "initializer_factor", "projection_dim", "use_flash_attn",
    "vocab_size", "image_size",
    // wrappers
    "dynamic_image_size", "hidden_size", "max_dynamic_patch", "min_dynamic_patch", "pad2square",
    "template", "vision_config"};

}  // namespace

std::string unread_keys(const std::vector<Fields>& objects) {
  constexpr int most = 8;
  std::string names;
  int count = 0;
  for (const Fields& fields : objects)
    for (const auto& [key, value] : fields.json.items()) {
      const Place place = fields.place / key;
      if (value.is_null() || fields.asked.contains(place.inside) || steers_generation(key) ||
          std::ranges::count(changes_nothing, key))
        continue;
      if (++count <= most) names += (names.empty() ? "" : ", ") + place.inside;
    }
  if (count == 0) return "";
  if (count > most) names += " and " + std::to_string(count - most) + " more";
  return objects[0].place.text() + ": nothing reads " + names;
}

}  // namespace revenant
