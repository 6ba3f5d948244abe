// Adapters: what trains, what is written, going on, merging.
#include "train/adapters.h"

#include <numeric>

#include "io/safetensors.h"
#include "over_base.h"
#include "store/merge.h"
#include "train/parameters.h"
#include "train/traced.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;

class AdaptersTest : public OverBase {
 protected:
  Recipe lora(const std::string& output, std::vector<std::string> match = {"language", "vision"}) {
    Recipe r = over_base(output);
    r.lora = {{4, 8, 0}, std::move(match)};
    return r;
  }
};

TEST_F(AdaptersTest, TheModelSaysAtFirstWhatItSaidBefore) {
  const Recipe r = lora("none");
  TorchModel model = load_to_train(r.model, {});
  const torch::Tensor before = logits(model);
  set_trainable(model, r);
  add_adapters(model, r);
  EXPECT_TRUE(torch::equal(logits(model), before));
  // q, k, v of the tower are one module and have one A; the decoder's are three.
  EXPECT_EQ(model.parameters.at("v.blk.0.attn_qkv.adapter_a").sizes(), (at::IntArrayRef{4, 16}));
  EXPECT_TRUE(model.parameters.contains("blk.1.attn_k.adapter_a"));
  EXPECT_FALSE(model.parameters.contains("output.adapter_a"));
  EXPECT_FALSE(model.parameters.contains("mm.0.adapter_a"));
  for (const auto& [name, parameter] : trained(model))
    EXPECT_TRUE(name.find(".adapter_") != name.npos ||
                part_of(model.specs.at(name)) == Part::projector ||
                part_of(model.specs.at(name)) == Part::mechanism)
        << name;
}

TEST_F(AdaptersTest, MergedEqualsUnmerged) {
  const Recipe r = lora("tuned");
  ASSERT_TRUE(train(r));
  const TorchModel base = load_torch_model(r.model), tuned = adapted(r);
  EXPECT_FALSE(torch::allclose(logits(tuned), logits(base), 1e-3, 1e-3));
  merge_adapter(r.model, r.output_dir, root_ / "merged");
  const TorchModel merged = load_torch_model(root_ / "merged");
  EXPECT_TRUE(torch::allclose(logits(merged), logits(tuned), 1e-5, 1e-5));
  // What had no adapter and did not train has its bits.
  EXPECT_TRUE(torch::equal(merged.parameters.at("token_embd.weight"),
                           base.parameters.at("token_embd.weight")));
  EXPECT_FALSE(fs::exists(r.output_dir / "model.safetensors"));
}

// W + alpha / rank B A, by torch.
TEST_F(AdaptersTest, AMergedMatrixIsItsFormula) {
  const Recipe r = lora("tuned");
  ASSERT_TRUE(train(r));
  merge_adapter(r.model, r.output_dir, root_ / "merged");
  const TorchModel base = load_torch_model(r.model), tuned = adapted(r),
                   merged = load_torch_model(root_ / "merged");
  for (const char* name : {"blk.0.attn_q", "blk.1.ffn_down", "v.blk.0.attn_v", "v.blk.0.ffn_up"}) {
    const auto& [a, b] = tuned.adapters.of.at(std::string(name) + ".weight");
    const torch::Tensor product = torch::mm(tuned.parameters.at(b), tuned.parameters.at(a)) * 2;
    const std::string weight = std::string(name) + ".weight";
    EXPECT_TRUE(torch::allclose(merged.parameters.at(weight), base.parameters.at(weight) + product,
                                1e-5, 1e-6))
        << name;
    EXPECT_GT(product.abs().max().item<float>(), 1e-3) << name;
  }
}

TEST_F(AdaptersTest, Bf16CopiesAreNeverStale) {
  Recipe r = lora("bf16");
  r.trainable = {};
  r.bf16 = true, r.learning_rate = 0.05, r.warmup_steps = 0, r.max_steps = 2, r.save_steps = 1;
  ASSERT_TRUE(train(r));
  const double said = log_of(r.output_dir)[1]["loss"];
  EXPECT_NEAR(said, bf16_loss(adapted(r, "checkpoint-1"), r, 1), 1e-5);
  EXPECT_GT(std::abs(said - bf16_loss(load_torch_model(r.model), r, 1)), 1e-3);
}

TEST_F(AdaptersTest, ARunThatGoesOnGivesTheSameBytes) {
  Recipe whole = lora("whole"), broken = lora("broken");
  whole.lora.settings.dropout = broken.lora.settings.dropout = 0.1;
  ASSERT_TRUE(train(whole));
  ASSERT_TRUE(train(broken));
  fs::remove_all(root_ / "broken/checkpoint-6");
  ASSERT_TRUE(train(broken));
  EXPECT_EQ(read_file(root_ / "whole" / adapter_weights_name),
            read_file(root_ / "broken" / adapter_weights_name));
  EXPECT_EQ(read_file(root_ / "whole/train.jsonl"), read_file(root_ / "broken/train.jsonl"));
}

TEST_F(AdaptersTest, ARunGoesOnOverItsOwnBaseOnly) {
  const Recipe r = lora("tuned");
  ASSERT_TRUE(train(r));
  Recipe again = recipe("base");
  again.seed = 7;
  again.max_steps = 2;
  fs::remove_all(root_ / "base");
  ASSERT_TRUE(train(again));
  EXPECT_TRUE(has(refusal(r), "base: expected")) << refusal(r);
}

// Of fused matrices only one has an adapter: the others' rows of B are zero.
TEST_F(AdaptersTest, OneOfFusedMatrices) {
  const Recipe r = lora("query", {"v.blk.*.attn_q.weight"});
  ASSERT_TRUE(train(r));
  const Safetensors file(r.output_dir / adapter_weights_name);
  const auto b = to_floats(
      file.tensors().at("base_model.model.vision_model.encoder.layers.0.attn.qkv.lora_B.weight"));
  const size_t third = b.size() / 3;
  const auto zero = [](float x) { return x == 0; };
  EXPECT_TRUE(std::none_of(b.begin(), b.begin() + long(third), zero));
  EXPECT_TRUE(std::all_of(b.begin() + long(third), b.end(), zero));
  merge_adapter(r.model, r.output_dir, root_ / "merged");
  const TorchModel base = load_torch_model(r.model), merged = load_torch_model(root_ / "merged");
  for (const char* name : {"v.blk.0.attn_k.weight", "blk.0.attn_q.weight"})
    EXPECT_TRUE(torch::equal(merged.parameters.at(name), base.parameters.at(name))) << name;
  EXPECT_FALSE(torch::equal(merged.parameters.at("v.blk.0.attn_q.weight"),
                            base.parameters.at("v.blk.0.attn_q.weight")));
}

// Dropped while it trains, by the batch's seed; never while it is measured.
TEST_F(AdaptersTest, DropoutIsForTrainingAlone) {
  Recipe r = lora("tuned");
  ASSERT_TRUE(train(r));
  r.lora.settings.dropout = 0.5;
  const TorchModel model = adapted(r);
  r.lora.settings.dropout = 0;
  const TorchModel plain = adapted(r);
  const TrainingData data = read_training_data(r.data, false);
  const Tokenizer tokenizer = Tokenizer::open(root_ / "base");
  const BatchMaker maker{model.config, tokenizer, prompt_rule(PromptFamily::phantom_qwen2),
                         tile_rule(model.config), batch_options(r)};
  const Pick pick{&data.sets[0], data.sets[0].groups[3], 1};
  TorchBatch batch = maker.make({&pick, 1});
  const torch::NoGradGuard no_grad;
  const auto sums = [&](const TorchModel& of, uint64_t seed) {
    batch.dropout_seed = seed;
    return score_answers(of, batch).sums;
  };
  EXPECT_TRUE(torch::equal(sums(model, 0), sums(plain, 0)));
  EXPECT_FALSE(torch::equal(sums(model, 2), sums(model, 0)));
  EXPECT_FALSE(torch::equal(sums(model, 2), sums(model, 4)));
  EXPECT_TRUE(torch::equal(sums(model, 2), sums(model, 2)));
  const torch::Tensor mask = dropout_mask(5, {100, 100}, 0.25, torch::kFloat32);
  EXPECT_NEAR(mask.mean().item<double>(), 1, 0.03);
  EXPECT_EQ((mask == 0).logical_or(mask == 1 / 0.75f).sum().item<int64_t>(), 10000);
}

TEST_F(AdaptersTest, AnEvaluationDropsNothing) {
  Recipe r = lora("tuned");
  r.lora.settings.dropout = 0.5;
  r.eval_data = r.data, r.max_steps = r.eval_steps = 6;
  ASSERT_TRUE(train(r));
  const TrainingData data = read_training_data(r.data, false);
  const Tokenizer tokenizer = Tokenizer::open(root_ / "base");
  r.lora.settings.dropout = 0;
  const TorchModel model = adapted(r);
  const BatchMaker maker{model.config, tokenizer, prompt_rule(PromptFamily::phantom_qwen2),
                         tile_rule(model.config), evaluation_options(r)};
  const auto picks = picks_in_order(data, 8);
  SideBySide threads(1);
  const StepLoss loss = measure(
      model, objective_of({}), picks.size(), [&](size_t i) { return maker.make(picks[i]); }, false,
      threads);
  EXPECT_NEAR(log_of(r.output_dir).back()["eval_loss"].get<double>(), loss.loss, 1e-5);
}

// As each backbone fuses its matrices, and beside the picture's own low-rank branches.
class AdaptersOver : public testing::TestWithParam<std::string> {
 protected:
  static nlohmann::json config() {
    if (GetParam() == "internlm_clip") return small_clip_config();
    nlohmann::json config = small_config_with_ids();
    config["llm_config"]["model_type"] = GetParam();
    return config;
  }
  // What it says of a picture and six words.
  static torch::Tensor logits(const TorchModel& model) {
    const torch::NoGradGuard no_grad;
    const int picture = model.config.tokens_per_tile(), side = model.config.vision.image;
    std::vector<int64_t> ids(size_t(picture) + 6, 7);
    std::vector<uint8_t> shows(ids.size(), 0);
    std::fill_n(shows.begin() + 2, picture, uint8_t(1));
    std::iota(ids.end() - 4, ids.end(), 10);
    Step step;
    step.add(0, 0, int(ids.size()), int(ids.size()), true, shows);
    const torch::Tensor pixels = torch::linspace(-1, 1, int64_t(3) * side * side);
    return forward(model, step, ids, see(model, pixels.view({1, 3, side, side})));
  }
  Recipe recipe() const {
    Recipe r;
    r.model = place_.path / "base", r.trainable = {"projector"}, r.quantize = quantize_;
    if (GetParam() == "internlm_clip") r.trainable.emplace_back("image_lora");
    r.lora = {{4, 8, 0}, {"language", "vision"}};
    return r;
  }
  TorchModel fresh() const {
    TorchModel model = load_to_train(recipe().model, {}, base_of(recipe()));
    set_trainable(model, recipe());
    add_adapters(model, recipe());
    return model;
  }
  void expect_the_same() const;

  const Temporary place_;
  Recipe::Quantize quantize_ = Recipe::Quantize::none;
};

void AdaptersOver::expect_the_same() const {
  const Path base = place_.path / "base", kept = place_.path / "kept";
  for (const Path& place : {base, kept}) fs::remove_all(place), fs::create_directories(place);
  save_torch_model(init_torch_model(config(), 3), base, DType::f32);
  const TorchModel trained_model = fresh();
  const torch::Tensor before = logits(trained_model);
  torch::manual_seed(5);
  {
    const torch::NoGradGuard no_grad;
    for (auto& [name, weight] : trained(trained_model))
      weight.detach().add_(torch::randn_like(weight) * 0.1);
  }
  const torch::Tensor said = logits(trained_model);
  EXPECT_GT((said - before).abs().max().item<double>(), 1e-2);
  save_trained(trained_model, kept, DType::f32);
  TorchModel read = fresh();
  load_adapters(read, kept);
  for (const auto& [name, weight] : trained_model.parameters)
    EXPECT_TRUE(torch::equal(weight, read.parameters.at(name))) << name;
  merge_adapter(base, kept, place_.path / "merged");
  EXPECT_TRUE(torch::allclose(logits(load_torch_model(place_.path / "merged")), said, 1e-5, 1e-5));
  fs::remove_all(place_.path / "merged");
}

TEST_P(AdaptersOver, KeptReadAndMergedTheySayTheSame) {
  for (const auto quantize :
       {Recipe::Quantize::none, Recipe::Quantize::int8, Recipe::Quantize::nf4}) {
    SCOPED_TRACE(int(quantize));
    quantize_ = quantize;
    expect_the_same();
  }
}

INSTANTIATE_TEST_SUITE_P(Backbones, AdaptersOver,
                         testing::Values("qwen2", "internlm2", "phi3", "internlm_clip"),
                         [](const auto& info) { return info.param; });

TEST_F(AdaptersTest, WhatMakesNoSenseIsRefused) {
  Recipe r = lora("refused", {"language", "blk.*.attn_x.weight"});
  EXPECT_TRUE(has(refusal(r), "lora: match: expected")) << refusal(r);
  r = lora("refused");
  r.trainable = {"language"};
  EXPECT_TRUE(has(refusal(r), "no matrix that lora has an adapter beside")) << refusal(r);
}

// An adapter of another scale or model.
TEST_F(AdaptersTest, FilesThatDoNotFitAreNamed) {
  const Recipe r = lora("tuned");
  ASSERT_TRUE(train(r));
  const Path config = r.output_dir / adapter_config_name;
  nlohmann::json json = nlohmann::json::parse(read_file(config));
  const auto merged_with = [&](const char* key, const nlohmann::json& value) -> std::string {
    nlohmann::json other = json;
    other[key] = value;
    write_file(config, other.dump());
    fs::remove_all(root_ / "merged");
    try {
      merge_adapter(r.model, r.output_dir, root_ / "merged");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_TRUE(has(merged_with("use_dora", true), "use_dora"));
  EXPECT_TRUE(has(merged_with("init_lora_weights", "pissa"), "init_lora_weights"));
  EXPECT_TRUE(has(merged_with("peft_type", "IA3"), "peft_type"));
  EXPECT_TRUE(has(merged_with("something_new", 3), "something_new"));
  EXPECT_EQ(merged_with("something_new", nullptr), "");
  EXPECT_EQ(merged_with("revision", "main"), "");
  const auto matrix = [&] {
    return load_torch_model(root_ / "merged").parameters.at("blk.0.attn_q.weight").detach();
  };
  const torch::Tensor base = load_torch_model(r.model).parameters.at("blk.0.attn_q.weight"),
                      change = matrix() - base;
  EXPECT_EQ(merged_with("use_rslora", true), "");  // alpha / sqrt(rank), 2 times as much
  EXPECT_TRUE(torch::allclose(matrix() - base, 2 * change, 1e-3, 1e-6));
  const std::string two = merged_with("alpha_pattern", {{"self_attn.q_proj", 4}, {"q_proj", 8}});
  EXPECT_TRUE(has(two, "self_attn.q_proj, found ") && has(two, " and ")) << two;
  EXPECT_EQ(merged_with("alpha_pattern", {{"layers.0.self_attn.q_proj", 4}}), "");  // a half
  EXPECT_TRUE(torch::allclose(matrix() - base, 0.5 * change, 1e-3, 1e-6));
  fs::remove_all(root_ / "base");
  Recipe wider = recipe("base");
  nlohmann::json shape = small_config();
  shape["llm_config"]["intermediate_size"] = 64;
  write_file(root_ / "config.json", shape.dump());
  wider.max_steps = 1;
  ASSERT_TRUE(train(wider));
  EXPECT_TRUE(has(merged_with("revision", "main"), "expected [48,32], found [64,32]"));
}

}  // namespace
}  // namespace revenant
