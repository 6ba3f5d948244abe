// Fresh weights: where the tower's heads look before anything is learnt.
#include "train/fresh.h"

#include <gtest/gtest.h>

#include "train/model.h"

namespace revenant {
namespace {

TEST(Fresh, HeadsOfTheTowerBeginAtTheirNeighbours) {
  constexpr int hidden = 192, heads = 8, width = hidden / heads, grid = 8;
  const nlohmann::json config = {{"model_type", "phantom"},
                                 {"image_token_index", 5},
                                 {"force_image_size", 64},
                                 {"vision_config",
                                  {{"hidden_size", hidden},
                                   {"intermediate_size", 32},
                                   {"num_hidden_layers", 1},
                                   {"num_attention_heads", heads},
                                   {"patch_size", 8},
                                   {"image_size", 64}}},
                                 {"llm_config",
                                  {{"model_type", "qwen2"},
                                   {"vocab_size", 40},
                                   {"hidden_size", 32},
                                   {"intermediate_size", 48},
                                   {"num_hidden_layers", 1},
                                   {"num_attention_heads", 2},
                                   {"num_key_value_heads", 1}}},
                                 {"revenant", {{"max_tiles", 1}}}};
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
