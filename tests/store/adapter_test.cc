// Adapters of PEFT's own package, and merging. `tools/check_peft.py make` made the files in
// data/peft: expected.safetensors is what PEFT merges them to over weights that are zero.
#include "store/adapter.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "store/merge.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const Path peft = Path(REVENANT_SOURCE_DIR) / "tests/store/data/peft";

Json config_of_peft() {
  return {{"model_type", "phantom"},
          {"image_token_index", 39},
          {"force_image_size", 32},
          {"vision_config",
           {{"hidden_size", 12},
            {"intermediate_size", 24},
            {"num_hidden_layers", 1},
            {"num_attention_heads", 2},
            {"patch_size", 8},
            {"image_size", 32}}},
          {"llm_config",
           {{"model_type", "qwen2"},
            {"vocab_size", 40},
            {"hidden_size", 16},
            {"intermediate_size", 20},
            {"num_hidden_layers", 2},
            {"num_attention_heads", 3},
            {"num_key_value_heads", 1},
            {"head_dim", 8}}}};
}

TEST(AdapterSpecs, FusedMatricesShareAAndSliceB) {
  for (const TensorSpec& spec : tensor_table(parse_config(config_of_peft(), "test"))) {
    if (spec.name != "v.blk.0.attn_k.weight" && spec.name != "blk.1.attn_k.weight") continue;
    const bool fused = spec.name.starts_with("v.");
    const auto [a, b] = adapter_specs(spec, 4);
    EXPECT_EQ(a.name, fused ? "v.blk.0.attn_qkv.adapter_a" : "blk.1.attn_k.adapter_a");
    EXPECT_EQ(a.stored,
              fused ? "base_model.model.vision_model.encoder.layers.0.attn.qkv.lora_A.weight"
                    : "base_model.model.language_model.model.layers.1.self_attn.k_proj."
                      "lora_A.weight");
    EXPECT_EQ(a.shape, (std::vector<int64_t>{4, fused ? 12 : 16}));
    EXPECT_EQ(b.name, spec.name.substr(0, spec.name.size() - 7) + ".adapter_b");
    EXPECT_EQ(b.shape, (std::vector<int64_t>{fused ? 12 : 8, 4}));
    EXPECT_EQ(b.stored_shape, (std::vector<int64_t>{fused ? 36 : 8, 4}));
    EXPECT_EQ(b.rows.offset, fused ? 12 : 0);
  }
}

class Adapter : public testing::Test {
 protected:
  void SetUp() override {
    write_random_checkpoint(base_, config_of_peft(), 5);
    fs::create_directories(adapter_);
    for (const char* name : {adapter_config_name, adapter_weights_name})
      fs::copy(peft / name, adapter_ / name);
  }
  std::string failure() const {
    fs::remove_all(merged_);
    try {
      merge_adapter(base_, adapter_, merged_);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  // What merging says with another value of adapter_config.json.
  std::string failure_with(const char* key, const Json& value) const {
    Json json = Json::parse(read_file(peft / adapter_config_name));
    json[key] = value;
    write_file(adapter_ / adapter_config_name, json.dump());
    return failure();
  }

  const Temporary place_;
  const Path base_ = place_.path / "base", adapter_ = place_.path / "adapter",
             merged_ = place_.path / "merged";
};

TEST_F(Adapter, OfPeftMergesAsPeftDoes) {
  ASSERT_EQ(failure(), "");
  const Checkpoint base = Checkpoint::open(base_), merged = Checkpoint::open(merged_);
  const Safetensors expected(peft / "expected.safetensors");
  ASSERT_EQ(merged.tensors().size(), base.tensors().size());
  size_t changed = 0;
  for (const auto& [name, view] : merged.tensors()) {
    const std::vector<float> before = to_floats(base.tensor(name)), after = to_floats(view);
    const auto it = expected.tensors().find(name);
    if (it == expected.tensors().end()) {
      EXPECT_EQ(after, before) << name;
      continue;
    }
    ++changed;
    const bool whole = name == "vision_proj.1.weight";
    const std::vector<float> change = to_floats(it->second);
    for (size_t i = 0; i < after.size(); ++i)
      ASSERT_NEAR(after[i], (whole ? 0 : before[i]) + change[i], 1e-5) << name << " " << i;
  }
  EXPECT_EQ(changed, expected.tensors().size());
}

TEST_F(Adapter, ItsSettingsAreHonouredOrRefused) {
  const std::pair<const char*, Json> refused[] = {{"peft_type", "IA3"},
                                                  {"use_dora", true},
                                                  {"lora_bias", true},
                                                  {"fan_in_fan_out", true},
                                                  {"init_lora_weights", "pissa_niter_4"},
                                                  {"trainable_token_indices", {1, 2}},
                                                  {"lora_alpha", "two"},
                                                  {"alpha_pattern", {{"q_(proj)", 2}}},
                                                  {"something_new", 3}};
  for (const auto& [key, value] : refused) {
    const std::string why = failure_with(key, value);
    EXPECT_NE(why.find(std::string(adapter_config_name) + ": " + key), why.npos) << key << why;
  }
  const std::pair<const char*, Json> accepted[] = {{"revision", "main"},
                                                   {"something_new", nullptr},
                                                   {"init_lora_weights", true},
                                                   {"loftq_config", Json::object()},
                                                   {"task_type", "CAUSAL_LM"}};
  for (const auto& [key, value] : accepted) EXPECT_EQ(failure_with(key, value), "") << key;
}

TEST_F(Adapter, WhatDoesNotFitIsNamed) {
  const Safetensors file(peft / adapter_weights_name);
  std::vector<NamedTensor> tensors;
  for (const auto& [name, view] : file.tensors()) {
    const size_t at = name.find("layers.0.self_attn");
    tensors.push_back(
        {at == name.npos ? name : std::string(name).replace(at, 8, "layers.7"), view});
  }
  write_safetensors(adapter_ / adapter_weights_name, tensors);
  EXPECT_NE(failure().find("layers.7.self_attn.k_proj.weight: expected a tensor of"),
            std::string::npos)
      << failure();
  fs::copy_file(peft / adapter_weights_name, adapter_ / adapter_weights_name,
                fs::copy_options::overwrite_existing);
  Json narrow = config_of_peft();
  narrow["llm_config"]["intermediate_size"] = 24;
  write_random_checkpoint(base_, narrow, 5);
  EXPECT_NE(failure().find("mlp.down_proj.weight: expected [16,24], found [16,20]"),
            std::string::npos)
      << failure();
  EXPECT_FALSE(fs::exists(merged_));
}

// A base in float64: what an adapter changes cannot be written back as it was.
TEST_F(Adapter, WhatNoWeightIsStoredInIsRefused) {
  const Checkpoint base = Checkpoint::open(base_);
  std::vector<TensorSource> wide;
  for (const auto& [name, view] : base.tensors())
    wide.push_back({name, DType::f64, view.shape, [view = &view](const Sink& sink) {
                      const std::vector<float> floats = to_floats(*view);
                      const std::vector<double> values(floats.begin(), floats.end());
                      sink(std::as_bytes(std::span(values)));
                    }});
  const Path model = place_.path / "wide";
  write_checkpoint(model, base.config(), wide);
  try {
    merge_adapter(model, adapter_, merged_);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(".weight: expected F32, F16 or BF16, found F64"),
              std::string::npos)
        << error.what();
  }
  EXPECT_FALSE(fs::exists(merged_));
  EXPECT_NO_THROW(merge_adapter(model, adapter_, merged_, {DType::f32, 1, {}}));
}

TEST_F(Adapter, NothingIsWrittenOverFiles) {
  ASSERT_EQ(failure(), "");
  EXPECT_THROW(merge_adapter(base_, adapter_, merged_), Error);
}

// In 16 bits each number is the nearest.
TEST_F(Adapter, MergesIntoWhatIsAskedFor) {
  ASSERT_EQ(failure(), "");
  const Path half = place_.path / "half";
  merge_adapter(base_, adapter_, half, {DType::bf16, 1, {}});
  const Checkpoint wide = Checkpoint::open(merged_), narrow = Checkpoint::open(half);
  for (const auto& [name, view] : narrow.tensors()) {
    EXPECT_EQ(view.dtype, DType::bf16);
    const std::vector<float> a = to_floats(wide.tensor(name)), b = to_floats(view);
    for (size_t i = 0; i < a.size(); ++i) ASSERT_EQ(b[i], to_float_bf16(to_bf16(a[i]))) << name;
  }
}

}  // namespace
}  // namespace revenant
