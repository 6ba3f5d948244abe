#include "model/generation.h"

#include <algorithm>

#include "model/fields.h"
#include "model/unread.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

// What changes the tokens of a greedy answer unless it has this value; null: absent or empty.
const std::vector<std::pair<const char*, Json>>& neutral() {
  static const std::vector<std::pair<const char*, Json>> table = {
      {"repetition_penalty", 1},
      {"encoder_repetition_penalty", 1},
      {"no_repeat_ngram_size", 0},
      {"encoder_no_repeat_ngram_size", 0},
      {"min_length", 0},
      {"min_new_tokens", 0},
      {"num_beam_groups", 1},
      {"diversity_penalty", 0},
      {"guidance_scale", 1},
      {"token_healing", false},
      {"penalty_alpha", 0},
      {"suppress_tokens", nullptr},
      {"begin_suppress_tokens", nullptr},
      {"bad_words_ids", nullptr},
      {"forced_bos_token_id", nullptr},
      {"forced_eos_token_id", nullptr},
      {"forced_decoder_ids", nullptr},
      {"force_words_ids", nullptr},
      {"constraints", nullptr},
      {"sequence_bias", nullptr},
      {"exponential_decay_length_penalty", nullptr},
      {"stop_strings", nullptr},
      {"watermarking_config", nullptr},
      {"dola_layers", nullptr},
  };
  return table;
}

// What counts only where tokens are drawn, and what leaves the draw alone.
const std::vector<std::pair<const char*, Json>>& sampling() {
  static const std::vector<std::pair<const char*, Json>> table = {
      {"temperature", 1}, {"top_k", 50},         {"top_p", 1},      {"min_p", 0},
      {"typical_p", 1},   {"epsilon_cutoff", 0}, {"eta_cutoff", 0},
  };
  return table;
}

// `-n`, `--beams` and the cache's options decide these.
const Names decided_elsewhere = {"do_sample",
                                 "num_beams",
                                 "max_length",
                                 "max_new_tokens",
                                 "max_time",
                                 "length_penalty",
                                 "early_stopping",
                                 "use_cache",
                                 "cache_implementation",
                                 "cache_config",
                                 "return_legacy_cache",
                                 "prefill_chunk_size",
                                 "low_memory",
                                 "renormalize_logits",
                                 "remove_invalid_values",
                                 "num_return_sequences",
                                 "output_attentions",
                                 "output_hidden_states",
                                 "output_scores",
                                 "output_logits",
                                 "return_dict_in_generate",
                                 "decoder_start_token_id",
                                 "bos_token_id",
                                 "pad_token_id",
                                 "is_assistant",
                                 "num_assistant_tokens",
                                 "num_assistant_tokens_schedule",
                                 "assistant_confidence_threshold",
                                 "assistant_early_exit",
                                 "assistant_lookbehind",
                                 "target_lookbehind",
                                 "prompt_lookup_num_tokens",
                                 "max_matching_ngram_size",
                                 "compile_config",
                                 "disable_compile",
                                 "trust_remote_code",
                                 "custom_generate",
                                 "_from_model_config",
                                 "transformers_version"};

bool holds(const std::vector<std::pair<const char*, Json>>& table, std::string_view key) {
  return std::ranges::any_of(table, [&](const auto& entry) { return entry.first == key; });
}

}  // namespace

bool steers_generation(std::string_view key) {
  return holds(neutral(), key) || holds(sampling(), key) ||
         std::ranges::count(decided_elsewhere, key);
}

std::vector<std::string> check_generation(const Fields& fields) {
  for (const auto& [key, value] : neutral())
    if (fields.has(key) && !(value.is_null() && fields.json[key].empty())) {
      if (value.is_null()) fields.fail(key, "nothing (it is not done here)");
      fields.fixed(key, value);
    }
  std::string asked;
  for (const auto& [key, value] : sampling())
    if (fields.has(key) && fields.json[key] != value)
      asked += std::string(", ") + key + " " + shown(fields.json[key]);
  std::vector<std::string> told;
  if (fields.flag("do_sample", false))
    told.push_back((fields.place / "do_sample").text() + ": true" + asked +
                   ": answers are greedy all the same, unless options ask for sampling");
  if (fields.integer("num_beams", 1) > 1)
    told.push_back((fields.place / "num_beams").text() + ": " +
                   std::to_string(fields.integer("num_beams")) +
                   ": one beam all the same, unless options ask for more");
  return told;
}

Config with_generation(Config config, const Json& json, const std::string& subject) {
  std::set<std::string> asked;
  const Fields fields{json, {"config", subject}, asked};
  if (!json.is_object()) fields.place.fail("a JSON object", json.type_name());
  const auto told = check_generation(fields);
  config.warnings.insert(config.warnings.end(), told.begin(), told.end());
  for (const int id : fields.ids("eos_token_id"))
    if (!std::ranges::count(config.eos_tokens, id)) config.eos_tokens.push_back(id);
  if (const std::string unread = unread_keys({fields}); !unread.empty())
    config.warnings.push_back(unread);
  return config;
}

}  // namespace revenant
