// What a frozen tower says is computed once, and shows nowhere.
#include "train/tower_cache.h"

#include "noise.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

TEST(TowerCache, ComputesATileOnceAndForgetsTheLeastRecentlyUsed) {
  TowerCache cache(2 * 4 * sizeof(float));
  int computed = 0;
  const auto ask = [&](float tile) {
    return cache
        .of(torch::full({3, 2, 2}, tile),
            [&](const Tensor& t) {
              ++computed;
              return t.sum().expand({4}).contiguous();
            })[0]
        .item<float>();
  };
  EXPECT_EQ(ask(1), 12);
  EXPECT_EQ(ask(2), 24);
  EXPECT_EQ(ask(1), 12);
  EXPECT_EQ(computed, 2);
  EXPECT_EQ(cache.bytes(), 32u);
  EXPECT_EQ(ask(3), 36);  // 2 goes
  EXPECT_EQ(cache.bytes(), 32u);
  EXPECT_EQ(ask(1), 12);
  EXPECT_EQ(computed, 3);
  EXPECT_EQ(ask(2), 24);
  EXPECT_EQ(computed, 4);
  TowerCache small(31);
  small.of(torch::zeros({3, 2, 2}), [](const Tensor&) { return torch::zeros({8}); });
  EXPECT_EQ(small.bytes(), 0u);
}

class TowerCacheRun : public Noise {};

// Over several epochs; gone on with from the middle, with nothing in the cache.
TEST_F(TowerCacheRun, LossesAreThoseOfARunWithout) {
  Recipe base = recipe("base");
  base.max_steps = 1;
  ASSERT_TRUE(train(base));
  const auto run = [&](const std::string& output, int megabytes) {
    Recipe r = recipe(output);
    r.config.clear();
    r.model = root_ / "base";
    r.trainable = {"projector", "mechanism", "language"};
    r.tower_cache_mb = megabytes;
    r.max_steps = 20;
    r.save_steps = 10;
    r.save_dtype = Recipe::SaveType::float32;
    EXPECT_TRUE(train(r));
    return log_of(root_ / output);
  };
  const auto with = run("with", 1), without = run("without", 0);
  ASSERT_EQ(with.size(), 20u);
  for (size_t i = 0; i < with.size(); ++i)
    EXPECT_NEAR(with[i]["loss"].get<double>(), without[i]["loss"].get<double>(), 1e-5) << i;
  fs::create_directories(root_ / "broken");
  for (const char* part : {"tokenizer", "checkpoint-10", "train.jsonl"})
    if (fs::exists(root_ / "with" / part))
      fs::copy(root_ / "with" / part, root_ / "broken" / part, fs::copy_options::recursive);
  run("broken", 1);
  EXPECT_EQ(read_file(root_ / "broken/model.safetensors"),
            read_file(root_ / "with/model.safetensors"));
}

}  // namespace
}  // namespace revenant
