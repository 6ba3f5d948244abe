// AdamW whose moments lie in 8 bits, beside AdamW.
#include "train/adamw_8bit.h"

#include <cmath>

#include "noise.h"
#include "quant/dynamic8.h"
#include "train/optimizer.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

// bitsandbytes 0.48's create_dynamic_map(signed=False), some of it.
TEST(Dynamic8, MapsAreThoseOfBitsandbytes) {
  const auto& map = unsigned_dynamic_map();
  EXPECT_TRUE(std::ranges::is_sorted(map));
  EXPECT_EQ(map[0], 0);
  EXPECT_EQ(map[255], 1);
  EXPECT_FLOAT_EQ(map[1], 3.25e-7f);
  EXPECT_FLOAT_EQ(map[2], 7.75e-7f);
  EXPECT_FLOAT_EQ(map[3], 2.125e-6f);
  EXPECT_FLOAT_EQ(map[254], 0.99648435f);
  EXPECT_EQ(signed_dynamic_map()[127], 0);
}

// Within half of the widest gap of its map, whatever the block's size; zero and the largest
// exactly; rounded again they are the same.
TEST(Moment8, RoundsToTheNearest) {
  torch::manual_seed(1);
  const Tensor values = torch::randn({7, 100}) * torch::randn({7, 1}).exp();
  values[0][3] = 0;
  for (const bool has_sign : {true, false}) {
    const Tensor x = has_sign ? values : values * values;
    const Tensor once = Moment8(x, has_sign).floats(x.sizes());
    EXPECT_EQ(once[0][3].item<float>(), 0);
    const Tensor flat = x.flatten(), found = once.flatten();
    for (int64_t begin = 0; begin < flat.numel(); begin += 256) {
      const Tensor block = flat.slice(0, begin, begin + 256),
                   near = found.slice(0, begin, begin + 256);
      const double largest = block.abs().max().item<double>();
      EXPECT_LE((block - near).abs().max().item<double>(), 0.008 * largest);
      EXPECT_EQ(near.abs().max().item<double>(), largest);
    }
    EXPECT_TRUE(torch::equal(Moment8(once, has_sign).floats(x.sizes()), once));
  }
  EXPECT_TRUE(torch::equal(Moment8(torch::zeros(300), true).floats(300), torch::zeros(300)));
}

// Block by block as by torch's operators, to the bit; ties and the map's ends too.
TEST(Moment8, PacksAsTorchDoes) {
  torch::manual_seed(3);
  Tensor values = torch::randn({40, 256}) * torch::randn({40, 1}).mul(6).exp();
  values[1] = 0;
  values[2][9] = -1e15f;
  for (const bool has_sign : {true, false}) {
    const auto& map = has_sign ? signed_dynamic_map() : unsigned_dynamic_map();
    Tensor x = has_sign ? values.clone() : values * values;
    for (int64_t i = 0; i < 255; ++i) x[3][i] = (map[size_t(i)] + map[size_t(i) + 1]) / 2;
    x[3][255] = 1;
    const Moment8 expected(x, has_sign);
    Moment8 found(torch::zeros_like(x), has_sign);
    for (int64_t block = 0; block < 40; ++block) {
      found.pack(block, x[block].contiguous().const_data_ptr<float>());
      Tensor unpacked = torch::empty({256});
      found.unpack(block, unpacked.data_ptr<float>());
      EXPECT_TRUE(torch::equal(unpacked, expected.floats(x.sizes())[block])) << block;
    }
    EXPECT_TRUE(torch::equal(found.floats(x.sizes()), expected.floats(x.sizes())));
  }
}

// The first step is AdamW's own; later ones stay near it. Small weights have whole moments.
TEST(AdamW8bit, StaysNearAdamW) {
  Recipe recipe;
  recipe.weight_decay = 0.1;
  const auto stepped = [&](Recipe::Optim optim, int steps) {
    recipe.optim = optim;
    TorchModel model = init_torch_model(small_config_with_ids(), 1);
    const std::string wide = "wide";  // more values than kSmallest
    model.specs[wide] = model.specs.at("blk.0.ffn_up.weight");
    model.specs[wide].name = wide;
    torch::manual_seed(2);
    model.parameters[wide] = torch::randn({80, 70}).requires_grad_();
    Optimizer optimizer(recipe, model);
    SideBySide threads(1);
    for (int step = 0; step < steps; ++step) {
      for (const auto& [name, parameter] : model.parameters)
        parameter.mutable_grad() = torch::randn_like(parameter);
      optimizer.step(0.01, threads);
    }
    return model.parameters;
  };
  using Optim = Recipe::Optim;
  for (const int steps : {1, 20}) {
    const NamedTensors expected = stepped(Optim::adamw_torch, steps);
    const NamedTensors found = stepped(Optim::adamw_8bit, steps);
    for (const auto& [name, weight] : expected) {
      if (name != "wide") {
        EXPECT_TRUE(torch::equal(found.at(name), weight)) << name;
        continue;
      }
      const double worst = (found.at(name) - weight).abs().max().item<double>();
      EXPECT_LE(worst, steps == 1 ? 1e-6 : 0.03);  // 20 steps move it by 0.2 at most
      EXPECT_TRUE(steps == 1 || worst > 0);
    }
  }
}

// What does not lie row after row, as what lies on a GPU, is stepped by torch's operators: the
// same.
TEST(AdamW8bit, IsTheSameOfTorchsOperators) {
  torch::manual_seed(4);
  const Tensor rows = torch::randn({90, 70}), columns = rows.t().contiguous().t().requires_grad_();
  const Tensor whole = rows.clone().requires_grad_();
  ASSERT_FALSE(columns.is_contiguous());
  AdamW8bit steps(0.9, 0.999);
  for (int step = 0; step < 5; ++step) {
    const Tensor gradient = torch::randn({90, 70});
    whole.mutable_grad() = gradient.clone();
    columns.mutable_grad() = gradient.clone();
    steps.step("whole", whole, {}, 0.01);
    steps.step("columns", columns, {}, 0.01);
    // A moment at a middle may fall to either side.
    EXPECT_LE((whole - columns).abs().max().item<double>(), step == 0 ? 1e-6 : 1e-3);
  }
  EXPECT_GT((whole - rows).abs().max().item<double>(), 0.01);
}

class AdamW8bitRun : public Noise {};

TEST_F(AdamW8bitRun, GoesOnWithTheSameBytes) {
  Recipe whole = recipe("whole"), broken = recipe("broken");
  whole.optim = broken.optim = Recipe::Optim::adamw_8bit;
  ASSERT_TRUE(train(whole));
  ASSERT_TRUE(train(broken));
  fs::remove_all(root_ / "broken/checkpoint-6");
  ASSERT_TRUE(train(broken));
  for (const char* file :
       {"model.safetensors", "checkpoint-6/optimizer.safetensors", "train.jsonl"})
    EXPECT_EQ(read_file(root_ / "whole" / file), read_file(root_ / "broken" / file)) << file;
  Recipe other = recipe("other");
  ASSERT_TRUE(train(other));
  EXPECT_NE(read_file(root_ / "whole/model.safetensors"),
            read_file(root_ / "other/model.safetensors"));
}

}  // namespace
}  // namespace revenant
