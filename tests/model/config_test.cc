// What a config.json may say, and how it is refused: each complaint names the field, what the code
// computes and what the file says.
#include "model/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <tuple>

#include "base/error.h"
#include "model/generation.h"
#include "model/released.h"
#include "model/rope.h"
#include "support/golden.h"

namespace revenant {
namespace {

using Json = nlohmann::json;
using Path = std::filesystem::path;

// A released configuration with one value replaced or added.
Json changed(const char* model, const char* pointer, const Json& value) {
  Json json = released(model).config;
  json[Json::json_pointer(pointer)] = value;
  return json;
}

std::string complaint(const Json& json) {
  try {
    parse_config(json, "config.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "no complaint";
}

struct Row {
  const char *model, *pointer;
  Json value;
  const char* told;  // after "[config] config.json: "
};

void expect_complaints(const std::vector<Row>& rows) {
  for (const Row& row : rows)
    EXPECT_EQ(complaint(changed(row.model, row.pointer, row.value)),
              std::string("[config] config.json: ") + row.told)
        << row.pointer << " = " << row.value;
}

void expect_no_complaints(const std::vector<Row>& rows) {
  for (const Row& row : rows)
    EXPECT_EQ(complaint(changed(row.model, row.pointer, row.value)), "no complaint")
        << row.pointer << " = " << row.value;
}

const Json none = nullptr;

TEST(Config, ArchitecturesMustBeKnown) {
  const Json foo = {"FooForCausalLM"};
  expect_complaints({
      {"phantom-0.5b", "/architectures", foo,
       "architectures: expected a list that begins with PhantomForCausalLM or InternVLChatModel, "
       "found [\"FooForCausalLM\"]"},
      {"trol-7b", "/architectures", 3,
       "architectures: expected a list that begins with TroLForCausalLM or "
       "InternLMXComposer2ForCausalLM, found 3"},
      {"phantom-0.5b",
       "/llm_config/architectures",
       {"Phi3ForCausalLM"},
       "llm_config.architectures: expected a list that begins with Qwen2ForCausalLM, found "
       "[\"Phi3ForCausalLM\"]"},
      {"phantom-7b",
       "/vision_config/architectures",
       {"CLIPVisionModel"},
       "vision_config.architectures: expected a list that begins with InternVisionModel, found "
       "[\"CLIPVisionModel\"]"},
      {"trol-7b",
       "/vision_config/architectures",
       {"InternVisionModel"},
       "vision_config.architectures: expected a list that begins with CLIPVisionModel, found "
       "[\"InternVisionModel\"]"},
      {"phantom-0.5b", "/vision_config/model_type", "siglip",
       "vision_config.model_type: expected intern_vit_6b, intern_vit_300m or the like, found "
       "\"siglip\""},
      {"trol-1.8b", "/vision_config/model_type", "intern_vit_6b",
       "vision_config.model_type: expected clip_vision_model, found \"intern_vit_6b\""},
  });
  expect_no_complaints({
      {"phantom-0.5b", "/architectures", none, ""},
      {"trol-3.8b", "/architectures", Json::array(), ""},
      {"phantom-1.8b", "/architectures", {"InternVLChatModel"}, ""},
      {"phantom-0.5b", "/vision_config/model_type", "intern_vit", ""},
      {"phantom-0.5b", "/llm_config/architectures", none, ""},
      {"phantom-0.5b", "/vision_config/architectures", none, ""},
      {"trol-7b", "/architectures", {"TroLForCausalLM"}, ""},
      {"trol-3.8b", "/vision_config/model_type", "intern_vit_6b", ""},
      {"trol-7b", "/vision_config/model_type", "clip_vision_model", ""},
  });
}

TEST(Config, WhatTheCodeComputesCannotBeSetOtherwise) {
  expect_complaints({
      {"phantom-0.5b", "/llm_config/hidden_act", "gelu",
       "llm_config.hidden_act: expected silu or swish, found \"gelu\""},
      {"trol-7b", "/hidden_act", "relu", "hidden_act: expected silu or swish, found \"relu\""},
      {"phantom-0.5b", "/vision_config/hidden_act", "quick_gelu",
       "vision_config.hidden_act: expected \"gelu\", found \"quick_gelu\""},
      {"trol-7b", "/vision_config/hidden_act", "gelu",
       "vision_config.hidden_act: expected \"quick_gelu\", found \"gelu\""},
      {"phantom-0.5b", "/vision_config/norm_type", "rms_norm",
       "vision_config.norm_type: expected \"layer_norm\", found \"rms_norm\""},
      {"phantom-0.5b", "/vision_config/qk_normalization", true,
       "vision_config.qk_normalization: expected false, found true"},
      {"phantom-0.5b", "/vision_config/qkv_bias", false,
       "vision_config.qkv_bias: expected true, found false"},
      {"phantom-0.5b", "/ps_version", "v3", "ps_version: expected v1 or v2, found \"v3\""},
      {"phantom-0.5b", "/vision_config/num_channels", 4,
       "vision_config.num_channels: expected 3, found 4"},
      {"phantom-7b", "/llm_config/bias", true, "llm_config.bias: expected false, found true"},
      {"phantom-3.8b", "/llm_config/attention_bias", true,
       "llm_config.attention_bias: expected false, found true"},
      {"phantom-0.5b", "/llm_config/mlp_bias", true,
       "llm_config.mlp_bias: expected false, found true"},
      {"phantom-0.5b",
       "/vision_config/pruned_heads",
       {{"0", {1}}},
       "vision_config.pruned_heads: expected {}, found {\"0\":[1]}"},
      {"phantom-7b", "/llm_config/add_cross_attention", true,
       "llm_config.add_cross_attention: expected false, found true"},
      {"phantom-0.5b", "/use_llm_lora", 64, "use_llm_lora: expected 0, found 64"},
      {"trol-7b",
       "/quantization_config",
       {{"bits", 4}},
       "quantization_config: expected nothing (weights of 16 or 32 bits), found {\"bits\":4}"},
      {"phantom-0.5b", "/select_layer", -2, "select_layer: expected -1, found -2"},
  });
  expect_no_complaints({{"phantom-0.5b", "/llm_config/sliding_window", 1024, ""},
                        {"phantom-0.5b", "/use_llm_lora", 0, ""},
                        {"trol-7b", "/quantization_config", none, ""},
                        {"trol-3.8b", "/ps_version", "v1", ""},
                        {"trol-7b", "/vision_config/hidden_act", "quick_gelu", ""}});
}

// The rotary settings of phantom-3.8b as transformers 5 writes them.
Json in_rope_parameters(const char* model) {
  Json json = released(model).config;
  Json& llm = json["llm_config"];
  Json rope = llm.value("rope_scaling", Json{{"type", "default"}});
  rope["rope_type"] = rope["type"] == "su" ? "longrope" : rope["type"].get<std::string>();
  rope.erase("type");
  for (const char* key : {"rope_theta", "original_max_position_embeddings"})
    if (llm.contains(key)) rope[key] = llm[key], llm.erase(key);
  llm.erase("rope_scaling");
  llm["rope_parameters"] = rope;
  return json;
}

TEST(Config, RotarySettingsInEitherSpelling) {
  for (const char* model : {"phantom-0.5b", "phantom-1.8b", "phantom-3.8b"}) {
    const Config older = parse_config(released(model).config, "x"),
                 newer = parse_config(in_rope_parameters(model), "x");
    EXPECT_EQ(newer.rope.kind, older.rope.kind) << model;
    EXPECT_EQ(newer.rope.theta, older.rope.theta) << model;
    EXPECT_EQ(newer.rope.factor, older.rope.factor) << model;
    EXPECT_EQ(newer.rope.max_position, older.rope.max_position) << model;
    EXPECT_EQ(newer.rope.original_max_position, older.rope.original_max_position) << model;
    EXPECT_EQ(newer.rope.long_factors, older.rope.long_factors) << model;
    EXPECT_TRUE(newer.warnings.empty()) << newer.warnings[0];
  }
  Json both = in_rope_parameters("phantom-3.8b");
  both["llm_config"]["rope_theta"] = 10000.0;
  EXPECT_EQ(complaint(both), "no complaint");
  both["llm_config"]["rope_theta"] = 5000.0;
  EXPECT_EQ(complaint(both),
            "[config] config.json: llm_config.rope_parameters.rope_theta: expected 5000.0, as "
            "llm_config.rope_theta says, found 10000.0");
}

// What is in no place is not guessed in silence.
TEST(Config, AbsentSettingsThatChangeNumbersAreTold) {
  const auto without = [](const char* model, const char* object, const char* key) {
    Json json = released(model).config;
    json[Json::json_pointer(object)].erase(key);
    return json;
  };
  const auto warning = [](const Json& json) {
    const auto warnings = parse_config(json, "config.json").warnings;
    return warnings.empty() ? "" : warnings[0];
  };
  EXPECT_EQ(warning(without("phantom-0.5b", "/llm_config", "rope_theta")),
            "config.json: llm_config.rope_theta: nothing, taken as 10000");
  EXPECT_EQ(warning(without("phantom-3.8b", "/llm_config", "rms_norm_eps")),
            "config.json: llm_config.rms_norm_eps: nothing, taken as 1e-05");
  EXPECT_EQ(warning(without("phantom-0.5b", "/vision_config", "layer_norm_eps")),
            "config.json: vision_config.layer_norm_eps: nothing, taken as 1e-06");
  EXPECT_EQ(complaint(without("phantom-3.8b", "/llm_config", "original_max_position_embeddings")),
            "[config] config.json: llm_config.rope_scaling.original_max_position_embeddings: "
            "expected an integer, found nothing");
  EXPECT_EQ(
      complaint(without("phantom-1.8b", "/llm_config/rope_scaling", "factor")),
      "[config] config.json: llm_config.rope_scaling.factor: expected a number, found nothing");
  EXPECT_EQ(complaint(without("phantom-1.8b", "/llm_config", "max_position_embeddings")),
            "[config] config.json: llm_config.max_position_embeddings: expected an integer, found "
            "nothing");
}

TEST(Config, RotaryKeysAreHonouredOrRefusedByName) {
  const std::string window =
      "llm_config.sliding_window: expected at least 131072, "
      "max_position_embeddings (windows are not computed), found 2047";
  expect_complaints({
      {"phantom-3.8b", "/llm_config/sliding_window", 2047, window.c_str()},
      {"phantom-3.8b", "/llm_config/partial_rotary_factor", 0.75,
       "llm_config.partial_rotary_factor: expected 1, found 0.75"},
      {"phantom-3.8b", "/llm_config/rope_scaling/partial_rotary_factor", 0.75,
       "llm_config.rope_scaling.partial_rotary_factor: expected 1, found 0.75"},
      {"phantom-3.8b", "/llm_config/rope_scaling/short_mscale", 1.1,
       "llm_config.rope_scaling.short_mscale: expected no such key (known: factor, "
       "original_max_position_embeddings, attention_factor, short_factor, long_factor, type, "
       "rope_type, rope_theta or partial_rotary_factor), found 1.1"},
      {"phantom-3.8b", "/llm_config/rope_scaling/factor", 4.0,
       "llm_config.rope_scaling.factor: expected max_position_embeddings / "
       "original_max_position_embeddings, 32.000000, found 4.0"},
      {"phantom-3.8b", "/llm_config/rope_scaling/rope_type", "dynamic",
       "llm_config.rope_scaling.rope_type: expected su, found \"dynamic\""},
      {"phantom-1.8b", "/llm_config/rope_scaling/attention_factor", 1.0,
       "llm_config.rope_scaling.attention_factor: expected no such key (known: factor, "
       "original_max_position_embeddings, type, rope_type, rope_theta or partial_rotary_factor), "
       "found 1.0"},
      {"phantom-1.8b", "/llm_config/rope_scaling/original_max_position_embeddings", 4096,
       "llm_config.rope_scaling.original_max_position_embeddings: expected 32768, found 4096"},
      {"phantom-0.5b",
       "/llm_config/rope_scaling",
       {{"type", "yarn"}, {"factor", 4.0}},
       "llm_config.rope_scaling.type: expected dynamic, su, longrope or default, found \"yarn\""},
      {"phantom-0.5b",
       "/llm_config/rope_parameters",
       {{"full_attention", {{"rope_type", "default"}}}},
       "llm_config.rope_parameters.full_attention: expected no such key (known: type, rope_type, "
       "rope_theta or partial_rotary_factor), found {\"rope_type\":\"default\"}"},
      {"phantom-0.5b",
       "/llm_config/layer_types",
       {"full_attention", "linear_attention"},
       "llm_config.layer_types: expected full_attention in every layer, found "
       "[\"full_attention\",\"linear_attention\"]"},
      {"phantom-3.8b", "/llm_config/rope_scaling/attention_factor", 0,
       "llm_config.rope_scaling.attention_factor: expected a positive number, found 0"},
  });
  expect_no_complaints({
      {"phantom-3.8b", "/llm_config/sliding_window", none, ""},
      {"phantom-3.8b", "/llm_config/partial_rotary_factor", 1.0, ""},
      {"phantom-3.8b", "/llm_config/rope_scaling/factor", 32.0, ""},
      {"phantom-3.8b", "/llm_config/rope_scaling/attention_factor", 1.5, ""},
      {"phantom-3.8b", "/llm_config/rope_scaling/rope_type", "longrope", ""},
      {"phantom-0.5b", "/llm_config/layer_types", {"full_attention", "full_attention"}, ""},
      {"phantom-0.5b", "/llm_config/rope_scaling", {{"rope_type", "default"}}, ""},
      {"phantom-0.5b", "/llm_config/use_sliding_window", true, ""},  // 32768 is all there is
  });
  Json windowed = changed("phantom-0.5b", "/llm_config/use_sliding_window", true);
  windowed["llm_config"]["sliding_window"] = 1024;
  EXPECT_EQ(complaint(windowed),
            "[config] config.json: llm_config.sliding_window: expected at least 32768, "
            "max_position_embeddings (windows are not computed), found 1024");
  const Config c =
      parse_config(changed("phantom-3.8b", "/llm_config/rope_scaling/attention_factor", 1.5), "x");
  EXPECT_EQ(rope_rule(c.rope, c.head_dim, 10).factor, 1.5f);
  EXPECT_NEAR(rope_rule(parse_config(released("phantom-3.8b").config, "x").rope, 96, 10).factor,
              std::sqrt(1 + std::log(32.0) / std::log(4096.0)), 1e-6);
}

// papers.md 3.2: the long factors begin with the first length that the short ones were not made
// for.
TEST(Rope, LongFactorsBeginBehindTheOriginalLength) {
  const RopeConfig rope = parse_config(released("phantom-3.8b").config, "x").rope;
  const int last = rope.original_max_position;
  const auto frequencies = [&](int length) { return rope_rule(rope, 96, length).inv_freq; };
  EXPECT_EQ(frequencies(last), frequencies(1));
  EXPECT_NE(frequencies(last + 1), frequencies(1));
  EXPECT_EQ(frequencies(last + 1), frequencies(2 * last));
  EXPECT_EQ(rope_rule_key(rope, last), rope_rule_key(rope, 1));
  EXPECT_NE(rope_rule_key(rope, last + 1), rope_rule_key(rope, 1));
}

TEST(Config, EveryEndTokenIsHeeded) {
  const auto ends = [](const Json& value) {
    return parse_config(changed("phantom-0.5b", "/eos_token_id", value), "x").eos_tokens;
  };
  using Ids = std::vector<int>;
  EXPECT_EQ(ends(7), Ids({7}));
  EXPECT_EQ(ends({7, 8}), Ids({7, 8}));
  EXPECT_EQ(ends(none), Ids());
  EXPECT_EQ(ends(-1), Ids());
  EXPECT_EQ(ends(Json::array()), Ids());
  const Config config = parse_config(changed("phantom-0.5b", "/eos_token_id", 7), "x");
  EXPECT_EQ(with_generation(config, {{"eos_token_id", {9, 7}}}, "g").eos_tokens, Ids({7, 9}));
  EXPECT_EQ(with_generation(config, {{"eos_token_id", 9}}, "g").eos_tokens, Ids({7, 9}));
  EXPECT_EQ(with_generation(config, Json::object(), "g").eos_tokens, Ids({7}));
  expect_complaints({{"phantom-0.5b",
                      "/eos_token_id",
                      {7, -8},
                      "eos_token_id: expected an integer or a list of integers in [0, 2^30], "
                      "found [7,-8]"}});
}

// In generation_config.json and, as older files have them, in config.json: each key's neutral
// values pass, all others are refused by name, or told where options decide.
TEST(Config, GenerationKeys) {
  const Config config = parse_config(released("phantom-0.5b").config, "x");
  const auto told = [&](const Json& json) {
    try {
      const auto warnings = with_generation(config, json, "g.json").warnings;
      return warnings.empty() ? std::string() : warnings[0];
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  const std::vector<std::tuple<const char*, Json, Json>> keys = {
      {"repetition_penalty", 1.0, 1.1},
      {"encoder_repetition_penalty", 1.0, 1.1},
      {"no_repeat_ngram_size", 0, 3},
      {"encoder_no_repeat_ngram_size", 0, 3},
      {"min_length", 0, 5},
      {"min_new_tokens", none, 5},
      {"num_beam_groups", 1, 2},
      {"diversity_penalty", 0.0, 0.5},
      {"guidance_scale", none, 2.0},
      {"token_healing", false, true},
      {"penalty_alpha", none, 0.6},
      {"suppress_tokens", none, {5}},
      {"begin_suppress_tokens", Json::array(), {5}},
      {"bad_words_ids", none, {{5}}},
      {"forced_bos_token_id", none, 5},
      {"forced_eos_token_id", none, 5},
      {"forced_decoder_ids", none, {{1, 5}}},
      {"force_words_ids", none, {{5}}},
      {"constraints", none, {5}},
      {"sequence_bias", Json::object(), {{"5", 1.0}}},
      {"exponential_decay_length_penalty", none, {5, 1.1}},
      {"stop_strings", none, {"x"}},
      {"watermarking_config", none, {{"bias", 2.5}}},
      {"dola_layers", none, "high"}};
  for (const auto& [key, neutral, other] : keys) {
    const std::string refused = std::string("g.json: ") + key + ": expected ";
    EXPECT_EQ(told({{key, neutral}}), "");
    EXPECT_NE(told({{key, other}}).find(refused), std::string::npos) << told({{key, other}});
    for (const char* place : {"/", "/llm_config/"}) {
      const std::string pointer = std::string(place) + key;
      EXPECT_EQ(complaint(changed("phantom-0.5b", pointer.c_str(), neutral)), "no complaint");
      EXPECT_NE(complaint(changed("phantom-0.5b", pointer.c_str(), other)), "no complaint") << key;
    }
  }
  EXPECT_EQ(told({{"do_sample", true}, {"temperature", 0.7}, {"top_p", 0.8}, {"top_k", 50}}),
            "g.json: do_sample: true, temperature 0.7, top_p 0.8: answers are greedy all the same, "
            "unless options ask for sampling");
  EXPECT_EQ(told({{"num_beams", 3}}),
            "g.json: num_beams: 3: one beam all the same, unless options ask for more");
  EXPECT_EQ(told({{"temperature", 0.7},
                  {"max_new_tokens", 9},
                  {"_from_model_config", true},
                  {"transformers_version", "4.40.2"},
                  {"bos_token_id", 1}}),
            "");
  EXPECT_EQ(told({{"frobnicate", 2}}), "g.json: nothing reads frobnicate");
  EXPECT_EQ(told({1}), "[config] g.json: expected a JSON object, found array");
}

TEST(Config, WhatNothingReadsIsTold) {
  const auto warnings = [](const char* pointer, const Json& value) {
    return parse_config(changed("phantom-0.5b", pointer, value), "c.json").warnings;
  };
  using Lines = std::vector<std::string>;
  EXPECT_EQ(warnings("/llm_config/qk_norm", true),
            Lines({"c.json: nothing reads llm_config.qk_norm"}));
  EXPECT_EQ(warnings("/logit_scale", 2), Lines({"c.json: nothing reads logit_scale"}));
  EXPECT_EQ(warnings("/vision_config/pool", 2),
            Lines({"c.json: nothing reads vision_config.pool"}));
  EXPECT_EQ(warnings("/logit_scale", none), Lines());
  for (const std::string& name : released_names())
    EXPECT_EQ(parse_config(released(name).config, "c.json").warnings, Lines()) << name;
}

TEST(Config, ExtensionKnowsItsKeys) {
  expect_complaints({
      {"phantom-0.5b", "/revenant/phantom_etta", 0.1,
       "revenant.phantom_etta: expected no such key (known: phantom, phantom_eta, "
       "phantom_eta_learnable, phantom_anchor, phantom_widen, phantom_mixing, trol, trol_passes, "
       "trol_traverse, trol_threshold, trol_gate, trol_mixing or max_tiles), found 0.1"},
      {"phantom-0.5b", "/revenant/phantom_anchor", "last",
       "revenant.phantom_anchor: expected first, learned or own, found \"last\""},
      {"phantom-0.5b", "/revenant/phantom_mixing", "product",
       "revenant.phantom_mixing: expected gated, sum or mean, found \"product\""},
      {"phantom-0.5b", "/revenant/trol_mixing", "gated",
       "revenant.trol_mixing: expected a model with TroL, found \"gated\""},
      {"trol-7b", "/revenant/phantom_widen", true,
       "revenant.phantom_widen: expected a model with Phantom, found true"},
      {"trol-7b", "/revenant/trol_mixing", "third",
       "revenant.trol_mixing: expected gated, constant, uniform or second, found \"third\""},
      {"trol-7b", "/revenant/trol_traverse", "most",
       "revenant.trol_traverse: expected prompt, off or all, found \"most\""},
      {"phantom-0.5b",
       "/revenant",
       {{"phantom_widen", false}, {"phantom_eta_learnable", true}},
       "revenant.phantom_widen: expected true, with phantom_eta_learnable, found false"},
      {"phantom-0.5b", "/revenant/trol_gate", "own",
       "revenant.trol_gate: expected tied or per_layer, found \"own\""},
      {"phantom-0.5b", "/revenant/phantom_eta", -1e-4,
       "revenant.phantom_eta: expected a number of at least 0, found -0.0001"},
      {"phantom-0.5b", "/revenant/phantom_eta", 1e39,
       "revenant.phantom_eta: expected a finite number, found 1e+39"},
      {"phantom-0.5b", "/revenant/phantom_eta", INFINITY,
       "revenant.phantom_eta: expected a finite number, found null"},
      {"phantom-0.5b", "/revenant/max_tiles", 65,
       "revenant.max_tiles: expected an integer in [1, 64], found 65"},
      {"trol-7b", "/revenant/trol_passes", 17,
       "revenant.trol_passes: expected an integer in [1, 16], found 17"},
      {"trol-7b", "/revenant/trol_threshold", 1.5,
       "revenant.trol_threshold: expected a number from 0 to 1, found 1.5"},
      {"phantom-0.5b", "/revenant/trol_threshold", 0.5,
       "revenant.trol_threshold: expected a model with TroL, found 0.5"},
  });
  // Switched off, another way may stay; what asks for passes may not.
  const Json off = {{"phantom", false}, {"phantom_anchor", "own"}};
  const Json passes = {{"trol", false}, {"trol_traverse", "off"}};
  expect_complaints({{"trol-7b", "/revenant", passes,
                      "revenant.trol_traverse: expected a model with TroL, found \"off\""}});
  expect_no_complaints({{"phantom-0.5b", "/revenant", off, ""},
                        {"phantom-0.5b", "/revenant", Json::object(), ""},
                        {"phantom-0.5b", "/revenant/phantom_eta", 0, ""},
                        {"trol-7b", "/revenant/trol_gate", "tied", ""},
                        {"trol-7b", "/revenant/trol_gate", "per_layer", ""},
                        {"phantom-0.5b", "/revenant/phantom_eta_learnable", true, ""}});
}

TEST(Config, NumbersHaveRanges) {
  const Json few = {1, 2, 3}, zeros = std::vector<int>(48, 0);
  const std::string told =
      complaint(changed("phantom-3.8b", "/llm_config/rope_scaling/long_factor", zeros));
  EXPECT_NE(told.find("long_factor: expected a list of 48 positive numbers, found [0,0"),
            std::string::npos)
      << told;
  expect_complaints({
      {"phantom-0.5b", "/llm_config/rope_theta", 0,
       "llm_config.rope_theta: expected a positive number, found 0"},
      {"phantom-0.5b", "/llm_config/rope_theta", 1e-300,
       "llm_config.rope_theta: expected a positive number, found 1e-300"},
      {"phantom-0.5b", "/llm_config/rope_theta", "nan",
       "llm_config.rope_theta: expected a number, found \"nan\""},
      {"phantom-0.5b", "/llm_config/rms_norm_eps", -1e-6,
       "llm_config.rms_norm_eps: expected a positive number, found -1e-06"},
      {"phantom-0.5b", "/vision_config/layer_norm_eps", 0,
       "vision_config.layer_norm_eps: expected a positive number, found 0"},
      {"trol-7b", "/vision_config/layer_norm_eps", NAN,
       "vision_config.layer_norm_eps: expected a finite number, found null"},
      {"phantom-1.8b", "/llm_config/rope_scaling/factor", 0,
       "llm_config.rope_scaling.factor: expected a positive number, found 0"},
      {"phantom-3.8b", "/llm_config/rope_scaling/short_factor", few,
       "llm_config.rope_scaling.short_factor: expected a list of 48 positive numbers, found "
       "[1,2,3]"},
      {"phantom-3.8b", "/llm_config/original_max_position_embeddings", 1,
       "llm_config.original_max_position_embeddings: expected an integer above 1, found 1"},
      {"phantom-0.5b", "/llm_config/num_hidden_layers", 1 << 20,
       "llm_config.num_hidden_layers: expected an integer in [1, 4096], found 1048576"},
      {"phantom-0.5b", "/llm_config/num_hidden_layers", 0,
       "llm_config.num_hidden_layers: expected an integer in [1, 4096], found 0"},
      {"phantom-0.5b", "/eos_token_id", UINT64_MAX,
       "eos_token_id: expected an integer in [-1, 2^30], found 18446744073709551615"},
      {"phantom-0.5b", "/llm_config/num_attention_heads", 2,
       "llm_config.hidden_size: expected an even number of dimensions a head, at most 256, found "
       "896"},
      {"phantom-0.5b", "/llm_config/head_dim", 258,
       "llm_config.head_dim: expected an even number of dimensions a head, at most 256, found 258"},
      {"phantom-0.5b", "/vision_config/num_attention_heads", 2,
       "vision_config.num_attention_heads: expected at most 256 dimensions a head, found 512"},
      {"phantom-0.5b", "/force_image_size", 1 << 20,
       "force_image_size: expected an integer in [1, 16384], found 1048576"},
  });
}

TEST(Config, FoldsAWholeNumberOfPatches) {
  const std::string told =
      "[config] config.json: downsample_ratio: expected 1 / n with n an integer in [1, 64], found ";
  for (const double ratio : {0.0, -0.5, 1e-300, 1.0 / 65, 0.4, 0.7, 1.5, 1e38})
    EXPECT_EQ(complaint(changed("phantom-0.5b", "/downsample_ratio", ratio)),
              told + Json(ratio).dump());
  EXPECT_EQ(parse_config(changed("phantom-0.5b", "/downsample_ratio", 0.25), "x").shuffle, 4);
  EXPECT_EQ(parse_config(changed("phantom-0.5b", "/downsample_ratio", 1), "x").shuffle, 1);
}

TEST(Config, SettingsThatNothingReadsAreRefused) {
  const Json json = released("trol-1.8b").config, other = released("phantom-0.5b").config;
  EXPECT_NO_THROW(with_settings(json, {"vision_config.num_attention_heads=8", "num_hidden_layers=2",
                                       "revenant.trol_passes=3"}));
  EXPECT_NO_THROW(with_settings(other, {"llm_config.rope_theta=5"}));
  for (const Json& root : {Json(3), Json::array({1}), Json("x"), none})
    EXPECT_EQ(
        complaint(with_settings(root, {"a.b=1"})),
        std::string("[config] config.json: expected a JSON object, found ") + root.type_name());
  const std::string deep = "revenant.phantom_eta=" + std::string(100'000, '[');
  EXPECT_NE(complaint(with_settings(other, {deep})).find("phantom_eta: expected a number"),
            std::string::npos);
  for (const char* slip : {"num_hiden_layers=2", "vision_config.heads=8", "foo=1", "a.b.=5"}) {
    SCOPED_TRACE(slip);
    try {
      with_settings(json, {slip});
      ADD_FAILURE() << "no complaint";
    } catch (const Error& error) {
      const std::string key = std::string(slip).substr(0, std::string(slip).find('='));
      EXPECT_EQ(
          error.what(),
          "[config] setting: expected a key that this model's configuration has, found " + key);
    }
  }
}

TEST(Config, ComplaintsAreOneLineWhateverTheFileSays) {
  const std::string told = complaint(
      changed("phantom-0.5b", "/llm_config/hidden_act", "si\nlu\xff" + std::string(99, 'x')));
  EXPECT_EQ(told.find('\n'), std::string::npos) << told;
  EXPECT_NE(told.find("expected silu or swish, found \"si\\nlu"), std::string::npos) << told;
  EXPECT_LT(told.size(), 200u) << told;
}

TEST(Config, WhatComesWithTheCloneLoads) {
  const Path root = REVENANT_SOURCE_DIR;
  std::vector<std::pair<Path, std::vector<std::string>>> files = {
      {root / "recipes" / "phantom-nano.config.json", {"llm_config.vocab_size=2048"}},
      {root / "models" / "phantom-nano" / "config.json", {}}};
  for (const auto& [file, settings] : files)
    EXPECT_EQ(complaint(with_settings(golden::read_json(file), settings)), "no complaint") << file;
  for (const std::string& name : released_names())
    EXPECT_EQ(complaint(released(name).config), "no complaint") << name;
}

}  // namespace
}  // namespace revenant
