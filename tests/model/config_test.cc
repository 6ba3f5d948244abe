// What a config.json may say, and how it is refused: each complaint names the field, what the code
// computes and what the file says.
#include "model/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <filesystem>

#include "base/error.h"
#include "model/released.h"
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
      {"phantom-0.5b", "/llm_config/use_sliding_window", true,
       "llm_config.use_sliding_window: expected false, found true"},
      {"phantom-0.5b", "/select_layer", -2, "select_layer: expected -1, found -2"},
  });
  expect_no_complaints({{"phantom-0.5b", "/llm_config/sliding_window", 1024, ""},
                        {"phantom-3.8b", "/llm_config/sliding_window", 2047, ""},
                        {"trol-3.8b", "/ps_version", "v1", ""},
                        {"trol-7b", "/vision_config/hidden_act", "quick_gelu", ""}});
}

TEST(Config, ExtensionKnowsItsKeys) {
  expect_complaints({
      {"phantom-0.5b", "/revenant/phantom_etta", 0.1,
       "revenant.phantom_etta: expected no such key (known: phantom, phantom_eta, "
       "phantom_eta_learnable, trol, trol_passes, trol_traverse, trol_gate or max_tiles), found "
       "0.1"},
      {"phantom-0.5b", "/revenant/trol_gate", "own",
       "revenant.trol_gate: expected \"tied\", found \"own\""},
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
  });
  expect_no_complaints({{"phantom-0.5b", "/revenant", Json::object(), ""},
                        {"phantom-0.5b", "/revenant/phantom_eta", 0, ""},
                        {"trol-7b", "/revenant/trol_gate", "tied", ""}});
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
