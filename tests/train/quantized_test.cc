// Frozen matrices in 8 and 4 bits: their numbers, their products, and runs over them.
#include "train/quantized.h"

#include "io/checkpoint.h"
#include "model/released.h"
#include "over_base.h"
#include "quant/int8.h"
#include "quant/nf4.h"
#include "store/merge.h"
#include "train/device.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Kind = QuantizedBase::Kind;
using torch::Tensor;

std::vector<float> random_floats(int64_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(float(random.uniform() * 2 - 1));
  return values;
}

QuantizedMatrix matrix_of(Kind kind, const std::vector<float>& values, int64_t rows,
                          int64_t columns) {
  return {std::make_shared<const QuantizedTensor>(quantized(kind, values, rows, columns)),
          {0, rows, 0},
          rows};
}

// As src/quant defines them, bit for bit, on the CPU and of torch's operators; blocks of NF4 begin
// within rows, and a byte belongs to two of them.
TEST(Quantized, NumbersAreThoseOfTheirDefinition) {
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{37, 71}, {40, 128}, {300, 129}}) {
    const std::vector<float> values = random_floats(rows * columns, 1);
    for (const Kind kind : {Kind::int8, Kind::nf4}) {
      const std::vector<float> expected =
          kind == Kind::int8 ? dequantize_int8(quantize_int8(values, rows, columns))
                             : dequantize_nf4(quantize_nf4_double(values));
      const Tensor all = torch::tensor(expected).view({rows, columns});
      const QuantizedMatrix m = matrix_of(kind, values, rows, columns);
      EXPECT_TRUE(torch::equal(dequantized(m, 0, rows), all));
      EXPECT_TRUE(torch::equal(dequantized(m, 3, 20), all.slice(0, 3, 20)));
      EXPECT_TRUE(torch::equal(composed::dequantized(m, 3, 20), all.slice(0, 3, 20)));
      EXPECT_EQ(as_quantized(kind, values, rows, columns), expected);
      EXPECT_FALSE(torch::equal(all, torch::tensor(values).view({rows, columns})));
    }
  }
}

// Rows that are fused with others', in blocks: of each 6 rows the third and the fourth.
TEST(Quantized, AWeightIsItsRowsOfAFusedTensor) {
  for (const Kind kind : {Kind::int8, Kind::nf4}) {
    QuantizedMatrix m = matrix_of(kind, random_floats(24 * 10, 2), 24, 10);
    const Tensor all = dequantized(m, 0, 24);
    m.map = {2, 2, 6};
    m.rows = 8;
    const Tensor expected = all.view({4, 6, 10}).slice(1, 2, 4).reshape({8, 10});
    EXPECT_TRUE(torch::equal(dequantized(m, 0, 8), expected));
    EXPECT_TRUE(torch::equal(composed::dequantized(m, 1, 7), expected.slice(0, 1, 7)));
  }
}

// Over several tiles, the last a short one.
TEST(Quantized, ProductsAreThoseOfTheDequantised) {
  constexpr int64_t rows = 150, columns = 20000;
  const std::vector<float> values = random_floats(rows * columns, 3);
  const Tensor input = torch::tensor(random_floats(5 * columns, 4)).view({5, columns}) / 100;
  const Tensor weights = torch::tensor(random_floats(5 * rows, 5)).view({5, rows});
  for (const Kind kind : {Kind::int8, Kind::nf4})
    for (const bool bf16 : {false, true}) {
      const QuantizedMatrix m = matrix_of(kind, values, rows, columns);
      const Autocast autocast(bf16, torch::kCPU);
      const auto with_gradient = [&](const auto& product) {
        const Tensor x = input.clone().requires_grad_();
        const Tensor y = product(x);
        const bool narrow = bf16 && !Autocast::in_products_alone();
        EXPECT_EQ(y.scalar_type(), narrow ? torch::kBFloat16 : torch::kFloat32);
        (y.to(torch::kFloat32) * weights).sum().backward();
        return std::pair(y.detach().to(torch::kFloat32), x.grad());
      };
      const auto found = with_gradient([&](const Tensor& x) { return times(x, m); });
      const auto expected =
          with_gradient([&](const Tensor& x) { return torch::linear(x, dequantized(m, 0, rows)); });
      const double near = bf16 ? 1e-2 : 1e-5;
      const auto worst = [](const Tensor& a, const Tensor& b) {
        return ((a - b).abs().max() / b.abs().max()).item<double>();
      };
      EXPECT_LE(worst(found.first, expected.first), near);
      EXPECT_LE(worst(found.second, expected.second), near);
      EXPECT_GT(found.second.abs().max().item<float>(), 0.1);
    }
}

TEST(Quantized, WhatTheReleasedLoadersConvert) {
  const auto base_of = [](const char* name) {
    return released_base(parse_config(released(name).config, name));
  };
  const QuantizedBase trol = base_of("trol-7b");
  EXPECT_EQ(trol.kind, Kind::nf4);
  for (const std::string& name : trol.matrices)
    EXPECT_TRUE(name.find("lora_") != name.npos || name.find("Plora_") != name.npos) << name;
  EXPECT_FALSE(trol.matrices.empty());
  const QuantizedBase phantom = base_of("phantom-7b");
  EXPECT_EQ(phantom.kind, Kind::int8);
  const auto converts = [&](const std::string& part) {
    return std::ranges::any_of(
        phantom.matrices, [&](const std::string& name) { return name.find(part) != name.npos; });
  };
  for (const char* part : {"vision_proj", "vision_model", "feed_forward", "attention.wo"})
    EXPECT_TRUE(converts(part)) << part;
  for (const char* part : {"wqkv", "linear_q", "gating_phantom", "output", "tok_embeddings"})
    EXPECT_FALSE(converts(part)) << part;
}

// Of models that were never released too: no list knows both mechanisms.
TEST(Quantized, WhatIsLikeAReleasedOneKeepsItsMechanisms) {
  for (const char* name : {"phantom-0.5b", "phantom-3.8b", "trol-7b"}) {
    nlohmann::json config = released(name).config;
    config["revenant"].update({{"phantom", true}, {"trol", true}, {"trol_gate", "per_layer"}});
    const QuantizedBase base = released_base(parse_config(config, name));
    EXPECT_FALSE(base.matrices.empty());
    for (const std::string& matrix : base.matrices)
      for (const char* part : {"trol_gating", "linear_", "gating_phantom"})
        EXPECT_EQ(matrix.find(part), matrix.npos) << matrix;
  }
}

// TroL's pictures: the only matrices that its release has in few bits.
TEST(Quantized, ImageOnlyBranchesAreComputedFromFewBits) {
  const Temporary place;
  TorchModel model = init_torch_model(small_clip_config(), 2);
  {
    const torch::NoGradGuard no_grad;
    for (auto& [name, weight] : model.parameters)
      if (model.specs.at(name).role == Role::lora) weight.detach().normal_();
  }
  save_torch_model(model, place.path, DType::f32);
  const TorchModel few = load_to_train(place.path, {}, released_base);
  EXPECT_FALSE(few.quantized.empty());
  const auto picture_logits = [](const TorchModel& of) {
    const torch::NoGradGuard no_grad;
    const int tokens = of.config.tokens_per_tile();
    Step step;
    step.add(0, 0, tokens + 2, tokens + 2, true, [&] {
      std::vector<uint8_t> shows(size_t(tokens) + 2, 1);
      shows.front() = shows.back() = 0;
      return shows;
    }());
    const Tensor pixels = torch::linspace(-1, 1, 3 * 56 * 56).view({1, 3, 56, 56});
    return forward(of, step, std::vector<int64_t>(size_t(tokens) + 2, 7), see(of, pixels));
  };
  const Tensor found = picture_logits(few), before = picture_logits(model);
  for (const auto& [name, matrix] : few.quantized) {
    EXPECT_EQ(model.specs.at(name).role, Role::lora) << name;
    model.parameters[name] = dequantized(matrix, 0, matrix.rows);
  }
  EXPECT_TRUE(torch::allclose(found, picture_logits(model), 1e-4, 1e-5));
  EXPECT_FALSE(torch::allclose(found, before, 1e-3, 1e-3));
}

TEST(Quantized, TheConfigurationSaysWhichMatrices) {
  const Config config = parse_config(released("phantom-7b").config, "config");
  for (const QuantizedBase& base :
       {paper_base(config, Kind::int8), paper_base(config, Kind::nf4), released_base(config)}) {
    const nlohmann::json json = quantization_config(base, config);
    const QuantizedBase again = quantized_base(json, config, "config.json");
    EXPECT_EQ(again.kind, base.kind);
    EXPECT_EQ(again.matrices, base.matrices);
    nlohmann::json other = json;
    other["bnb_4bit_quant_type"] = "fp4";
    EXPECT_THROW(quantized_base(other, config, "config.json"), Error);
  }
}

// What makes ghosts and gates, under autocast too.
TEST(Quantized, MechanismsComputeInFloat32) {
  const Config config;
  TorchExecutor e(config, nullptr, nullptr);
  Linear<TorchWeight> w;
  w.weight.tensor = torch::randn({8, 8});
  const Tensor x = torch::randn({5, 8});
  const Tensor expected = torch::linear(x, w.weight.tensor);
  const Autocast autocast(true, torch::kCPU);
  const Tensor rounded = e.linear(w, x);
  EXPECT_EQ(rounded.scalar_type(),
            Autocast::in_products_alone() ? torch::kFloat32 : torch::kBFloat16);
  EXPECT_FALSE(torch::equal(rounded.to(torch::kFloat32), expected));
  w.weight.in_float32 = true;
  EXPECT_TRUE(torch::equal(e.linear(w, x), expected));
}

class QuantizedRun : public OverBase {
 protected:
  Recipe over_base(const std::string& output, Recipe::Quantize quantize, bool lora) const {
    Recipe r = OverBase::over_base(output);
    r.quantize = quantize;
    if (lora) r.lora = {{4, 8, 0}, {"language", "vision"}};
    return r;
  }
  // What a run says of its data: its losses.
  std::vector<double> losses(const std::string& output) const {
    std::vector<double> all;
    for (const nlohmann::json& line : log_of(root_ / output)) all.push_back(line.at("loss"));
    return all;
  }
  Tensor stored(const std::string& model, const std::string& name) const {
    return load_torch_model(root_ / model).parameters.at(name).detach();
  }
};

// A run over what is left after quantisation, stored as floats, is the same run.
TEST_F(QuantizedRun, IsTheRunOverTheDequantised) {
  for (const auto quantize : {Recipe::Quantize::int8, Recipe::Quantize::nf4}) {
    const std::string name = quantize == Recipe::Quantize::int8 ? "int8" : "nf4";
    TorchModel model = load_torch_model(root_ / "base");
    const TorchModel few =
        load_to_train(root_ / "base", {}, base_of(over_base("", quantize, true)));
    EXPECT_FALSE(few.parameters.contains("blk.0.attn_q.weight"));
    EXPECT_FALSE(few.quantized.contains("blk.0.mix_q.q.weight"));
    EXPECT_EQ(few.parameters.size() + few.quantized.size(), model.parameters.size());
    TorchModel moved = few;
    move_to(moved, torch::kCPU);
    for (const TorchModel* m : {&few, static_cast<const TorchModel*>(&moved)}) {
      EXPECT_EQ(m->quantized.at("v.blk.0.attn_q.weight").stored,
                m->quantized.at("v.blk.0.attn_v.weight").stored);
    }
    const auto layer = few.weights().layers[0];
    EXPECT_FALSE(layer.attention.q.weight.in_float32);
    EXPECT_TRUE(layer.attention.phantom.mix_q.q.weight.in_float32);
    for (const auto& [weight, matrix] : few.quantized)
      model.parameters[weight] = dequantized(matrix, 0, matrix.rows);
    fs::create_directories(root_ / ("left-" + name));
    save_torch_model(model, root_ / ("left-" + name), DType::f32);
    fs::copy(root_ / "base/tokenizer.json", root_ / ("left-" + name) / "tokenizer.json");
    Recipe wide = over_base("wide-" + name, Recipe::Quantize::none, true);
    wide.model = root_ / ("left-" + name);
    ASSERT_TRUE(train(wide));
    ASSERT_TRUE(train(over_base(name, quantize, true)));
    const auto expected = losses("wide-" + name), found = losses(name);
    ASSERT_EQ(found.size(), 6u);
    for (size_t i = 0; i < found.size(); ++i)
      EXPECT_NEAR(found[i], expected[i], 1e-4 * expected[i]);
    merge_adapter(root_ / "base", root_ / name, root_ / ("merged-" + name));
    merge_adapter(wide.model, wide.output_dir, root_ / ("merged-wide-" + name));
    for (const char* weight : {"blk.0.attn_q.weight", "v.blk.0.attn_v.weight", "mm.0.weight"})
      EXPECT_TRUE(torch::allclose(stored("merged-" + name, weight),
                                  stored("merged-wide-" + name, weight), 1e-3, 1e-4))
          << weight;
  }
}

// Merged are the dequantised matrices: the model that was trained.
TEST_F(QuantizedRun, MergedEqualsUnmerged) {
  for (const auto quantize : {Recipe::Quantize::int8, Recipe::Quantize::nf4}) {
    const Recipe r = over_base("tuned" + std::to_string(int(quantize)), quantize, true);
    ASSERT_TRUE(train(r));
    const TorchModel tuned = adapted(r);
    const Path merged = root_ / ("merged" + std::to_string(int(quantize)));
    merge_adapter(r.model, r.output_dir, merged);
    EXPECT_TRUE(torch::allclose(logits(load_torch_model(merged)), logits(tuned), 1e-5, 1e-5));
    EXPECT_FALSE(Checkpoint::open(merged).config().contains("quantization_config"));
  }
}

// Without adapters the finished model is whole, and what was quantised has the base's bits.
TEST_F(QuantizedRun, WithoutAdaptersTheBaseIsWrittenAsItWas) {
  for (const auto quantize : {Recipe::Quantize::nf4, Recipe::Quantize::released}) {
    const std::string name = "parts" + std::to_string(int(quantize));
    const Recipe whole = over_base(name, quantize, false),
                 broken = over_base("broken", quantize, false);
    ASSERT_TRUE(train(whole));
    for (const char* weight : {"blk.0.attn_q.weight", "v.blk.0.attn_k.weight", "token_embd.weight"})
      EXPECT_TRUE(torch::equal(stored(name, weight), stored("base", weight))) << weight;
    EXPECT_FALSE(torch::equal(stored(name, "mm.0.weight"), stored("base", "mm.0.weight")));
    ASSERT_TRUE(train(broken));
    fs::remove_all(root_ / "broken/checkpoint-6");
    ASSERT_TRUE(train(broken));
    EXPECT_EQ(read_file(root_ / name / "model.safetensors"),
              read_file(root_ / "broken/model.safetensors"));
    EXPECT_EQ(read_file(root_ / name / "train.jsonl"), read_file(root_ / "broken/train.jsonl"));
    fs::remove_all(root_ / "broken");
  }
}

TEST_F(QuantizedRun, WhatMakesNoSenseIsRefused) {
  Recipe r = over_base("refused", Recipe::Quantize::nf4, false);
  r.trainable = {"all"};
  EXPECT_TRUE(has(refusal(r), "quantize: expected a matrix that does not train whole"))
      << refusal(r);
  r = over_base("changed", Recipe::Quantize::nf4, true);
  r.max_steps = 3;
  ASSERT_TRUE(train(r));
  r.quantize = Recipe::Quantize::int8;
  EXPECT_TRUE(has(refusal(r), "quantize: expected int8")) << refusal(r);
}

}  // namespace
}  // namespace revenant
