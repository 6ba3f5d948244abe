// Fresh weights: where the tower's heads look before anything is learnt.
#include "train/fresh.h"

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
  const auto& weight = [&](const std::string& name) {
    return model.parameters.at("vision_model." + name);
  };
  torch::manual_seed(2);
  const torch::Tensor pixels = torch::randn({grid * grid, 3 * 8 * 8});
  const torch::Tensor patches =
      pixels.mm(weight("embeddings.patch_embedding.weight").view({hidden, -1}).t());
  const torch::Tensor x =
      patches + weight("embeddings.position_embedding").view({-1, hidden}).slice(0, 1);
  const torch::Tensor qkv =
      at::layer_norm(x, {hidden}).mm(weight("encoder.layers.0.attn.qkv.weight").t());
  const int neighbours[heads][2] = {{-1, 0},  {1, 0}, {0, -1}, {0, 1},
                                    {-1, -1}, {1, 1}, {-1, 1}, {1, -1}};
  for (int head = 0; head < heads; ++head) {
    const torch::Tensor q = qkv.narrow(1, head * width, width);
    const torch::Tensor k = qkv.narrow(1, hidden + head * width, width);
    const torch::Tensor seen = torch::softmax(q.mm(k.t()) / std::sqrt(double(width)), -1);
    const auto [dx, dy] = neighbours[head];
    double share = 0;
    for (int row = 1; row < grid - 1; ++row)
      for (int column = 1; column < grid - 1; ++column)
        share += seen[row * grid + column][(row + dy) * grid + column + dx].item<double>();
    EXPECT_GT(share / ((grid - 2) * (grid - 2)), 0.7) << "head " << head;
  }
}

}  // namespace
}  // namespace revenant
