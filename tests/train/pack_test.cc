// packing: a tree of spans computes what its sequences compute apart.
#include "train/pack.h"
#include "train/device.h"

#include <torch/csrc/autograd/autograd.h>

#include "noise.h"
#include "train/objective.h"
#include "train/parameters.h"

namespace revenant {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int64_t>;

// Sequences whose last `answer` rows are labelled.
TorchBatch batch_of(const std::vector<Ids>& sequences, int answer) {
  TorchBatch batch;
  for (const Ids& ids : sequences) {
    const int length = int(ids.size());
    batch.step.add(int(batch.step.spans.size()), 0, length, length, true);
    for (int i = 0; i < length; ++i) {
      batch.ids.push_back(ids[size_t(i)]);
      batch.labels.push_back(i < length - answer ? -100 : ids[size_t(i)]);
    }
  }
  return batch;
}

// "parent start ids" of each span.
std::vector<std::string> told(const TorchBatch& batch) {
  std::vector<std::string> lines;
  int row = 0;
  for (const Span& span : batch.step.spans) {
    EXPECT_EQ(span.first_row, row);
    std::string line = std::to_string(span.parent) + " " + std::to_string(span.start) + ":";
    for (int i = 0; i < span.rows; ++i, ++row) line += " " + std::to_string(batch.ids[size_t(row)]);
    lines.push_back(line);
  }
  EXPECT_EQ(row, batch.step.rows);
  return lines;
}
using Lines = std::vector<std::string>;

TEST(Pack, IsATreeOfWhatIsShared) {
  TorchBatch batch = batch_of({{9, 9, 9}, {1, 2, 3, 4, 8}, {1, 2, 5, 6, 8}, {1, 2, 3, 4, 7}}, 2);
  batch.pairs = {{1, 3, 0}};
  batch.step.picture[4] = 1;  // the first 2
  pack(batch, 1, {});
  EXPECT_EQ(told(batch),
            (Lines{"-1 0: 9 9 9", "-1 0: 1 2", "1 2: 3", "2 3: 4 8", "2 3: 4 7", "1 2: 5 6 8"}));
  EXPECT_EQ(batch.labels, (Ids{-100, 9, 9, -100, -100, -100, 4, 8, 4, 7, -100, 6, 8}));
  EXPECT_EQ(batch.pairs[0].chosen, 3);
  EXPECT_EQ(batch.pairs[0].rejected, 4);
  EXPECT_EQ(std::count(batch.step.picture.begin(), batch.step.picture.end(), 1), 1);
  EXPECT_EQ(batch.step.picture[4], 1);
}

TEST(Pack, SharesNoLabelAndNoOtherRotation) {
  // Alike but for their ends: rows with labels stay apart.
  TorchBatch alike = batch_of({{1, 2, 3}, {1, 2, 3}}, 2);
  pack(alike, 0, {});
  EXPECT_EQ(told(alike), (Lines{"-1 0: 1", "0 1: 2 3", "0 1: 2 3"}));
  RopeConfig dynamic;
  dynamic.kind = RopeConfig::dynamic;
  dynamic.max_position = 4;
  TorchBatch lengths =
      batch_of({{1, 2, 3, 4}, {1, 2, 4, 4}, {1, 2, 3, 3, 3}, {1, 2, 3, 3, 3, 3}}, 1);
  pack(lengths, 0, dynamic);
  EXPECT_EQ(told(lengths),
            (Lines{"-1 0: 1 2", "0 2: 3 4", "0 2: 4 4", "-1 0: 1 2 3 3 3", "-1 0: 1 2 3 3 3 3"}));
}

class PackTest : public Noise {
 protected:
  struct Made {
    double loss;
    NamedTensors gradients;
    int rows;
  };
  Made made(const TorchModel& model, Recipe r, bool packing) {
    r.packing = packing;
    const Tokenizer tokenizer = Tokenizer::open(r.output_dir);
    const TrainingData data = read_training_data(r.data, r.objective.takes_pairs());
    const BatchMaker maker{model.config, tokenizer, prompt_rule(PromptFamily::phantom_qwen2),
                           tile_rule(model.config), batch_options(r)};
    TorchBatch batch = maker.make(picks_of_step(data, r, 0));
    EXPECT_TRUE(batch.left_out.empty());
    const int rows = batch.step.rows;
    round_up(batch);
    batch.pixels = batch.pixels.to(model.dtype());
    const auto value = objective_of(r.objective).value(batch, score_answers(model, batch));
    std::vector<torch::Tensor> weights;
    for (const auto& [name, weight] : trained(model)) weights.push_back(weight);
    const auto found = torch::autograd::grad({value.loss}, weights, {}, {}, false, true);
    Made out{value.loss.item<double>(), {}, rows};
    size_t next = 0;
    for (const auto& [name, weight] : trained(model)) out.gradients[name] = found[next++];
    return out;
  }
  // All gradients together.
  void expect_equal_in_bf16(const std::string& name, const Recipe& r) {
    TorchModel model = load_torch_model(r.output_dir, {}, torch::kFloat32);
    set_trainable(model, r);
    const Autocast narrow(true, torch::kCPU);
    const Made apart = made(model, r, false), packed = made(model, r, true);
    EXPECT_NEAR(packed.loss, apart.loss, 2e-3 * apart.loss) << name;
    double difference = 0, size = 0;
    for (const auto& [weight, gradient] : apart.gradients) {
      if (!gradient.defined()) continue;
      difference += (packed.gradients.at(weight) - gradient).square().sum().item<double>();
      size += gradient.square().sum().item<double>();
    }
    EXPECT_LT(difference, 0.02 * 0.02 * size) << name;
  }
  void expect_equal(const std::string& name, const Json& mechanisms, const Recipe& like) {
    Json config = small_config();
    config["revenant"].update(mechanisms);
    write_file(root_ / "config.json", config.dump());
    Recipe r = like;
    r.output_dir = root_ / name;
    r.max_steps = 1;
    ASSERT_TRUE(train(r));
    expect_equal_in_bf16(name, r);
    TorchModel model = load_torch_model(r.output_dir, {}, torch::kFloat64);
    set_trainable(model, r);
    const Made apart = made(model, r, false), packed = made(model, r, true);
    EXPECT_LT(packed.rows, apart.rows * 9 / 10) << name;
    EXPECT_NEAR(packed.loss, apart.loss, 1e-9 * apart.loss) << name;
    for (const auto& [weight, gradient] : apart.gradients) {
      ASSERT_EQ(gradient.defined(), packed.gradients.at(weight).defined()) << name << weight;
      if (!gradient.defined()) continue;
      EXPECT_LE((packed.gradients.at(weight) - gradient).norm().item<double>(),
                1e-7 * gradient.norm().item<double>() + 1e-12)
          << name << " " << weight;
    }
  }
};

TEST_F(PackTest, EqualsTheSeparateForm) {
  Recipe questions = recipe("questions");
  expect_equal("phantom", Json::object(), questions);
  expect_equal("both", {{"trol", true}, {"trol_passes", 3}}, questions);
  Recipe pairs = questions;
  pairs.objective.kind = ObjectiveConfig::Kind::po;
  pairs.rows = Recipe::Rows::infer;
  expect_equal("po", Json::object(), pairs);
  expect_equal("trol_po", {{"phantom", false}, {"trol", true}}, pairs);
  expect_equal("both_po", {{"trol", true}}, pairs);
  pairs.rows = Recipe::Rows::train;
  expect_equal("trol_po_train", {{"phantom", false}, {"trol", true}}, pairs);
}

TEST_F(PackTest, ARunPacksAndForgets) {
  std::vector<double> losses;
  for (const bool on : {false, true}) {
    Recipe r = recipe(on ? "on" : "off");
    r.objective.kind = ObjectiveConfig::Kind::po;
    r.packing = r.gradient_checkpointing = on;
    ASSERT_TRUE(train(r));
    for (const Json& line : log_of(r.output_dir)) losses.push_back(line["loss"]);
  }
  ASSERT_EQ(losses.size(), 12u);
  for (size_t i = 0; i < 6; ++i) EXPECT_NEAR(losses[i + 6], losses[i], 1e-4 * losses[i]) << i;
}

}  // namespace
}  // namespace revenant
