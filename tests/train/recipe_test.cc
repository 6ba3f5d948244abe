// Recipes and schedules.
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/temporary.h"
#include "train/recipe.h"

namespace revenant {
namespace {

TEST(Recipe, UnknownKeysAndWrongTypesAreNamed) {
  const Temporary place;
  const Path file = place.path / "recipe.yaml";
  const std::string good = "output_dir: o\nconfig: c\ndata:\n  - {path: d.json}\n";
  write_file(file, good);
  EXPECT_EQ(read_recipe(file, {"max_steps=7"}).max_steps, 7);
  const auto message = [&](const std::string& text,
                           std::vector<std::string> settings = {}) -> std::string {
    write_file(file, text);
    try {
      read_recipe(file, settings);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message(good + "learning_rat: 1\n").find("learning_rat"), std::string::npos);
  EXPECT_NE(message(good + "max_steps: many\n").find("max_steps"), std::string::npos);
  EXPECT_NE(message(good + "  - {path: e.json, shift: 0.7}\n")
                .find("data[1]: shift: expected 0 to 0.5, found 0.7"),
            std::string::npos);
  EXPECT_NE(message(good + "  - {path: e.json, flip: true}\n").find("data[1]: flip"),
            std::string::npos);
  EXPECT_NE(message(good + "lr_scheduler_type: linear\n").find("lr_scheduler_type"),
            std::string::npos);
  EXPECT_NE(message(good + "decay_steps: 5\n").find("decay_steps"), std::string::npos);
  EXPECT_NE(message(good + "lr_scheduler_type: warmup_stable_decay\n").find("decay_steps"),
            std::string::npos);
  EXPECT_NE(message(good + "  - {path: e.json, weight: much}\n").find("data[1]: weight"),
            std::string::npos);
  EXPECT_NE(message(good, {"learning_rate=-1"})
                .find("learning_rate: expected a positive number, "
                      "found -1"),
            std::string::npos);
  EXPECT_NE(message(good, {"max_steps=[1"}).find("--set: max_steps"), std::string::npos);
  EXPECT_NE(message(good, {"seed"}).find("key=value"), std::string::npos);
  EXPECT_NE(message("output_dir: o\nconfig: c\n").find("data"), std::string::npos);
}

TEST(Recipe, ScheduleWarmsUpThenFollowsTheCosine) {
  Recipe r;
  r.learning_rate = 1;
  r.min_learning_rate = 0.1;
  r.warmup_steps = 10;
  r.max_steps = 110;
  EXPECT_DOUBLE_EQ(learning_rate_at(r, 0), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(r, 10), 1);
  EXPECT_NEAR(learning_rate_at(r, 60), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate_at(r, 110), 0.1, 1e-12);
}

TEST(Recipe, ScheduleStaysLevelThenDecays) {
  Recipe r;
  r.learning_rate = 1;
  r.min_learning_rate = 0.1;
  r.lr_scheduler_type = "warmup_stable_decay";
  r.warmup_steps = 10;
  r.max_steps = 110;
  r.decay_steps = 20;
  EXPECT_DOUBLE_EQ(learning_rate_at(r, 4), 0.5);
  for (int step : {10, 50, 90}) EXPECT_DOUBLE_EQ(learning_rate_at(r, step), 1);
  EXPECT_NEAR(learning_rate_at(r, 100), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate_at(r, 110), 0.1, 1e-12);
  const double level = learning_rate_at(r, 60);
  r.max_steps = 90;
  EXPECT_DOUBLE_EQ(learning_rate_at(r, 60), level);
}

}  // namespace
}  // namespace revenant
