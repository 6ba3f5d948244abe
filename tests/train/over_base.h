// Runs that go on from a finished one: what trains beside its frozen matrices.
#pragma once

#include "noise.h"
#include "train/adapters.h"
#include "train/parameters.h"

namespace revenant {

class OverBase : public Noise {
 protected:
  void SetUp() override {
    Noise::SetUp();
    Recipe r = recipe("base");
    r.max_steps = 2;
    r.save_dtype = Recipe::SaveType::float32;
    ASSERT_TRUE(train(r));
  }
  // Projector and mechanism train.
  Recipe over_base(const std::string& output) const {
    Recipe r = recipe(output);
    r.config.clear();
    r.model = root_ / "base";
    r.trainable = {"projector", "mechanism"};
    r.learning_rate = 1e-2;
    r.save_dtype = Recipe::SaveType::float32;
    return r;
  }
  // The base and what a run of adapters left, or one of its checkpoints.
  TorchModel adapted(const Recipe& r, const Path& checkpoint = {}) const {
    TorchModel model = load_to_train(r.model, r.config_set, base_of(r));
    set_trainable(model, r);
    add_adapters(model, r);
    load_adapters(model, r.output_dir / checkpoint);
    return model;
  }
  // Logits of all rows of a batch.
  torch::Tensor logits(const TorchModel& model) const {
    const torch::NoGradGuard no_grad;
    Recipe r = recipe("base");
    r.questions_per_picture = 1;
    const Tokenizer tokenizer = Tokenizer::open(root_ / "base");
    const TrainingData data = read_training_data(r.data, false);
    const BatchMaker maker{model.config, tokenizer, prompt_rule(PromptFamily::phantom_qwen2),
                           tile_rule(model.config), batch_options(r)};
    const Pick pick{&data.sets[0], data.sets[0].groups[3], 1};
    const TorchBatch batch = maker.make({&pick, 1});
    return forward(model, batch.step, batch.ids, see(model, batch.pixels));
  }
};

}  // namespace revenant
