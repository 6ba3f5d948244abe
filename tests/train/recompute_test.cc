// gradient_checkpointing: what is forgotten and computed again changes no bit.
#include <numeric>
#include <set>

#include <torch/csrc/autograd/autograd.h>

#include "noise.h"
#include "train/gradients.h"
#include "train/parameters.h"
#include "train/traced.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

Step two_sequences() {
  Step step;
  step.add(0, 0, 9, 9, true);
  step.add(1, 0, 5, 5, true);
  return step;
}

class RecomputeTest : public Noise {
 protected:
  // Weights of a run as it stands and of the same that computes again.
  void expect_same_weights(Recipe r, const std::string& name) {
    r.save_dtype = Recipe::SaveType::float32;
    std::string bytes[2];
    for (const bool again : {false, true}) {
      r.gradient_checkpointing = again;
      r.output_dir = root_ / (name + (again ? "_again" : ""));
      ASSERT_TRUE(train(r));
      const Path directory = r.output_dir;
      bytes[again] = read_file(
          directory / (r.lora.settings.rank > 0 ? adapter_weights_name : "model.safetensors"));
    }
    EXPECT_TRUE(bytes[0] == bytes[1]) << name;
  }
};

TEST_F(RecomputeTest, ChangesNoBitOfARun) {
  Recipe r = recipe("plain");
  expect_same_weights(r, "phantom");
  r.bf16 = true;
  r.trainable = {"projector", "mechanism", "blk.1.ffn_*"};
  expect_same_weights(r, "bf16");

  Recipe lora = recipe("lora");
  lora.config.clear();
  lora.model = root_ / "phantom";
  lora.trainable = {"projector"};
  lora.lora = {{4, 8, 0.2}, {"language", "vision"}};
  expect_same_weights(lora, "lora");
}

// A layer's gradients of a sum over all logits, by name.
NamedTensors gradients_of(const TorchModel& model) {
  std::vector<int64_t> ids(14);
  std::iota(ids.begin(), ids.end(), 8);
  const torch::Tensor sum = forward(model, two_sequences(), ids, {}).square().sum();
  std::vector<torch::Tensor> weights;
  for (const auto& [name, weight] : trained(model)) weights.push_back(weight);
  const auto gradients = torch::autograd::grad({sum}, weights, {}, {}, false, true);
  NamedTensors named;
  size_t next = 0;
  for (const auto& [name, weight] : trained(model)) named[name] = gradients[next++];
  return named;
}

// Where passes share weights, and a later one looks at the anchor of the first, gradients are
// summed in another order.
TEST_F(RecomputeTest, GradientsOfLaterPasses) {
  for (const bool phantom : {false, true}) {
    Json config = small_config_with_ids();
    config["revenant"].update({{"phantom", phantom}, {"trol", true}, {"trol_passes", 3}});
    TorchModel model = noisy_model(config);
    const NamedTensors stored = gradients_of(model);
    model.recompute = true;
    const NamedTensors again = gradients_of(model);
    size_t mixers = 0;
    for (const auto& [name, gradient] : stored) {
      EXPECT_EQ(gradient.defined(), again.at(name).defined()) << name;
      if (!gradient.defined()) continue;
      EXPECT_LE((again.at(name) - gradient).norm().item<double>(),
                1e-9 * gradient.norm().item<double>() + 1e-12)
          << name;
      mixers += name.find("mix_k") != name.npos;
    }
    EXPECT_EQ(mixers, phantom ? 8u : 0u);  // four matrices in each of two layers
  }
}

size_t nodes_behind(const torch::Tensor& tensor) {
  std::set<const void*> seen;
  std::vector<const torch::autograd::Node*> open = {tensor.grad_fn().get()};
  while (!open.empty()) {
    const auto* const node = open.back();
    open.pop_back();
    if (!node || !seen.insert(node).second) continue;
    for (const auto& edge : node->next_edges()) open.push_back(edge.function.get());
  }
  return seen.size();
}

TEST_F(RecomputeTest, KeepsNothingOfALayer) {
  const Json config = small_config_with_ids();
  TorchModel model = init_torch_model(config, 3);
  Recipe r;
  r.trainable = {"all"};
  set_trainable(model, r);
  const Step step = two_sequences();
  const std::vector<int64_t> ids(14, 7);
  const torch::Tensor stored = forward(model, step, ids, {});
  model.recompute = true;
  const torch::Tensor forgotten = forward(model, step, ids, {});
  EXPECT_TRUE(torch::equal(stored, forgotten));
  EXPECT_GT(nodes_behind(stored), 200u);
  EXPECT_LT(nodes_behind(forgotten), 80u);  // weights, mostly
}

}  // namespace
}  // namespace revenant
