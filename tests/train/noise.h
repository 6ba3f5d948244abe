// What the tests of training train on.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "image/image.h"
#include "small_config.h"
#include "train/recipe.h"

namespace revenant {

// A set of noise pictures with two questions each, a config and a recipe over them.
class Noise : public testing::Test {
 protected:
  void SetUp() override {
    root_ = Path(testing::TempDir()) / ("train_" + std::to_string(::getpid()));
    std::filesystem::remove_all(root_);
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
  void TearDown() override { std::filesystem::remove_all(root_); }

  Recipe recipe(const std::string& output) const {
    Recipe r;
    r.output_dir = root_ / output;
    r.config = root_ / "config.json";
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

  Path root_;
};

}  // namespace revenant
