// What the tests of training train on.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "image/image.h"
#include "small_config.h"
#include "support/temporary.h"
#include "train/batch.h"
#include "train/gradients.h"
#include "train/loop.h"
#include "train/parameters.h"

namespace revenant {

// A set of noise pictures with two questions each, a config and a recipe over them.
class Noise : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(root_ / "images");
    Random random(3);
    nlohmann::json rows = nlohmann::json::array();
    for (int i = 0; i < 24; ++i) {
      Image image = blank_image(32, 32, uint8_t(random.below(256)));
      for (uint8_t& level : image.rgb) level = uint8_t(level / 2 + random.below(128));
      const std::string name = "images/" + std::to_string(i) + ".png";
      write_file(root_ / name, encode_png(image));
      for (const std::string question : {"What is it?", "Is it dark?"})
        rows.push_back({{"id", std::to_string(i) + question},
                        {"image", name},
                        {"conversations",
                         {{{"from", "human"}, {"value", "<image>\n" + question}},
                          {{"from", "gpt"}, {"value", i % 2 ? "yes" : "a cat"}}}},
                        {"rejected", "no"}});
    }
    write_file(root_ / "rows.json", rows.dump());
    write_file(root_ / "config.json", small_config().dump());
  }

  Recipe recipe(const std::string& output) const {
    Recipe r;
    r.output_dir = root_ / output;
    r.config = root_ / "config.json";
    r.device = DeviceChoice::cpu;  // bits are compared
    r.tokenizer_vocab = 300;
    r.data = {{root_ / "rows.json", "", 1}};
    r.per_device_train_batch_size = 4;
    r.questions_per_picture = 2;
    r.max_steps = 6;
    r.warmup_steps = 2;
    r.save_steps = 3;
    r.save_total_limit = 5;
    r.logging_steps = 1;
    return r;
  }

  const Temporary place_;
  const Path root_ = place_.path;
};

// A model in float64, all of which trains and does something: fresh mixers give ghosts of 0,
// through which no gradient goes.
inline TorchModel noisy_model(const nlohmann::json& config) {
  TorchModel model = init_torch_model(config, 3);
  torch::manual_seed(1);
  for (auto& [name, parameter] : model.parameters)
    parameter = parameter.detach().to(torch::kFloat64) +
                0.2 * torch::randn(parameter.sizes(), torch::kFloat64);
  Recipe r;
  r.trainable = {"all"};
  set_trainable(model, r);
  return model;
}

// The loss of a supervised run's step (counted from 0) under bf16, by a model as it is.
inline double bf16_loss(const TorchModel& model, const Recipe& r, int step) {
  const Tokenizer tokenizer = Tokenizer::open(r.model.empty() ? r.output_dir : r.model);
  const TrainingData data = read_training_data(r.data, false);
  const BatchMaker maker{model.config, tokenizer, prompt_rule(prompt_family(model.config)),
                         tile_rule(model.config), batch_options(r)};
  const auto batch = [&](size_t) {
    TorchBatch made = maker.make(picks_of_step(data, r, step));
    round_up(made);
    return made;
  };
  SideBySide threads(1);
  return measure(model, objective_of({}), 1, batch, true, threads).loss;
}

// The lines of a run's log.
inline std::vector<nlohmann::json> log_of(const Path& output) {
  std::vector<nlohmann::json> lines;
  std::istringstream text(read_file(output / "train.jsonl"));
  for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

// What train() refuses with; empty: nothing.
inline std::string refusal(const Recipe& r) {
  try {
    train(r);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A model after one step, its tokenizer and data, and what makes batches for it.
struct OneStep {
  static Recipe taken(Recipe r) {
    r.max_steps = 1;
    EXPECT_TRUE(train(r));
    return r;
  }
  OneStep(const Recipe& r, int questions, double conversation_share = 0) : recipe(taken(r)) {
    maker.options.questions_per_picture = questions;
    maker.options.conversation_share = conversation_share;
  }
  TorchBatch batch(size_t group, uint64_t seed) const {
    const Pick pick{&data.sets[0], data.sets[0].groups[group], seed};
    return maker.make({&pick, 1});
  }

  Recipe recipe;
  Tokenizer tokenizer = Tokenizer::open(recipe.output_dir);
  TorchModel model = load_torch_model(recipe.output_dir);
  TrainingData data = read_training_data(recipe.data, recipe.objective.takes_pairs());
  BatchMaker maker{model.config, tokenizer, prompt_rule(PromptFamily::phantom_qwen2),
                   tile_rule(model.config), batch_options(recipe)};
};

}  // namespace revenant
