// Fresh weights: where the tower's heads look before anything is learnt.
#include "store/fresh.h"

#include <gtest/gtest.h>

#include "small_config.h"
#include "train/model.h"

namespace revenant {
namespace {

TEST(Fresh, HeadsOfTheTowerBeginAtTheirNeighbours) {
  constexpr int hidden = 192, heads = 8, width = hidden / heads, grid = 8;
  nlohmann::json config = small_config_with_ids();
  config["force_image_size"] = config["vision_config"]["image_size"] = 64;
  config["vision_config"]["hidden_size"] = hidden;
  config["vision_config"]["num_attention_heads"] = heads;
  const TorchModel model = init_torch_model(config, 1);
  const torch::NoGradGuard no_grad;
  const auto& weight = [&](const std::string& name) { return model.parameters.at("v." + name); };
  torch::manual_seed(2);
  const torch::Tensor pixels = torch::randn({grid * grid, 3 * 8 * 8});
  const torch::Tensor patches = pixels.mm(weight("patch_embd.weight").t());
  const torch::Tensor x = patches + weight("position_embd.weight").slice(0, 1);
  const torch::Tensor normed = at::layer_norm(x, {hidden});
  const torch::Tensor queries = normed.mm(weight("blk.0.attn_q.weight").t());
  const torch::Tensor keys = normed.mm(weight("blk.0.attn_k.weight").t());
  const int neighbours[heads][2] = {{-1, 0},  {1, 0}, {0, -1}, {0, 1},
                                    {-1, -1}, {1, 1}, {-1, 1}, {1, -1}};
  for (int head = 0; head < heads; ++head) {
    const torch::Tensor q = queries.narrow(1, head * width, width);
    const torch::Tensor k = keys.narrow(1, head * width, width);
    const torch::Tensor seen = torch::softmax(q.mm(k.t()) / std::sqrt(double(width)), -1);
    const auto [dx, dy] = neighbours[head];
    double share = 0;
    for (int row = 1; row < grid - 1; ++row)
      for (int column = 1; column < grid - 1; ++column)
        share += seen[row * grid + column][(row + dy) * grid + column + dx].item<double>();
    EXPECT_GT(share / ((grid - 2) * (grid - 2)), 0.7) << "head " << head;
  }
}

// Language side: normal(0, 0.02), what is added to the residual scaled down by depth as in GPT-2,
// mixers such that they keep their input's size.
TEST(Fresh, DeviationsOfTheLanguageModel) {
  nlohmann::json config = small_config_with_ids();
  config["llm_config"]["num_hidden_layers"] = 3;
  const TorchModel model = init_torch_model(config, 1);
  const auto deviation = [&](const std::string& name) {
    return model.parameters.at(name).detach().std().item<double>();
  };
  const double residual = 0.02 / std::sqrt(2.0 * 3);
  for (const std::string block : {"blk.0.", "blk.2."}) {
    for (const std::string name : {"attn_q.weight", "ffn_gate.weight", "ffn_up.weight"})
      EXPECT_NEAR(deviation(block + name), 0.02, 0.002) << block + name;
    for (const std::string name : {"attn_output.weight", "ffn_down.weight"})
      EXPECT_NEAR(deviation(block + name), residual, 0.1 * residual) << block + name;
    EXPECT_NEAR(deviation(block + "mix_k_v.weight"), 0.25, 0.05);  // 1 / sqrt(16)
  }
  EXPECT_NEAR(deviation("token_embd.weight"), 0.02, 0.002);
}

TEST(Fresh, AnotherSeedGivesOtherWeights) {
  const auto weight = [](uint64_t seed) {
    return init_torch_model(small_config_with_ids(), seed).parameters.at("blk.0.attn_q.weight");
  };
  EXPECT_TRUE(torch::equal(weight(1), weight(1)));
  EXPECT_FALSE(torch::equal(weight(1), weight(2)));
}

}  // namespace
}  // namespace revenant
