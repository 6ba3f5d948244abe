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
  r.lr_scheduler_type = Recipe::Schedule::warmup_stable_decay;
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

// Another value than the default's, for every key there is: a key without a row here fails.
const std::map<std::string, std::string> other_values = {
    {"output_dir", "elsewhere"},
    {"model", "a_model"},
    {"config", "a_config"},
    {"tower", "a_tower"},
    {"config_set", "[revenant.phantom_eta=0.5, x=y]"},
    {"tokenizer", "a_tokenizer"},
    {"tokenizer_vocab", "77"},
    {"data",
     "[{fields: {chosen: a, messages: \"\"}, make: emoji, mirror: true, path: e.json, shift: 0.25, "
     "tasks: [a, b], weight: 2}]"},
    {"eval_data", "[{make: flags, mirror: false, path: f.json, shift: 0, weight: 1}]"},
    {"objective", "po"},
    {"beta", "3.5"},
    {"gamma", "0.25"},
    {"sft_weight", "0.125"},
    {"count_end_token", "false"},
    {"traverse_budget", "0.75"},
    {"reference", "a_reference"},
    {"trainable", "[projector, mechanism]"},
    {"parameter_groups",
     "[{adam_epsilon: 0.001, learning_rate: 0.5, match: [vision], weight_decay: 0.25}]"},
    {"exif", "apply"},
    {"lora", "{alpha: 16, dropout: 0.25, match: [language], rank: 8}"},
    {"quantize", "nf4"},
    {"rows", "infer"},
    {"device", "cuda"},
    {"seed", "7"},
    {"per_device_train_batch_size", "3"},
    {"questions_per_picture", "9"},
    {"conversation_share", "0.5"},
    {"max_length", "99"},
    {"gradient_accumulation_steps", "5"},
    {"max_steps", "11"},
    {"learning_rate", "0.25"},
    {"min_learning_rate", "0.125"},
    {"warmup_steps", "4"},
    {"lr_scheduler_type", "warmup_stable_decay"},
    {"decay_steps", "6"},
    {"optim", "muon"},
    {"weight_decay", "0.5"},
    {"adam_beta1", "0.75"},
    {"adam_beta2", "0.5"},
    {"adam_epsilon", "0.0625"},
    {"muon_momentum", "0.5"},
    {"max_grad_norm", "2.5"},
    {"packing", "true"},
    {"gradient_checkpointing", "true"},
    {"tower_cache_mb", "23"},
    {"bf16", "true"},
    {"nan_policy", "stop"},
    {"max_skipped_steps", "2"},
    {"eval_steps", "8"},
    {"logging_steps", "13"},
    {"save_steps", "17"},
    {"save_total_limit", "19"},
    {"save_dtype", "float32"},
    {"report_to", "none"}};

// What a key needs beside it to be accepted.
const std::map<std::string, std::vector<std::string>> beside = {
    {"model", {"config="}},
    {"eval_data", {"eval_steps=5"}},
    {"eval_steps", {"eval_data=[{path: f.json}]"}},
    {"beta", {"objective=po"}},
    {"gamma", {"objective=po"}},
    {"sft_weight", {"objective=po"}},
    {"count_end_token", {"objective=po"}},
    {"reference", {"objective=dpo"}},
    {"quantize", {"config=", "model=a_model"}},
    {"lora", {"config=", "model=a_model", "trainable=[projector]"}},
    {"min_learning_rate", {"learning_rate=0.25"}},
    {"lr_scheduler_type", {"decay_steps=6"}},
    {"decay_steps", {"lr_scheduler_type=warmup_stable_decay"}}};

TEST(Recipe, EveryKeyArrives) {
  const Temporary place;
  const Path file = place.path / "recipe.yaml";
  write_file(file, "output_dir: o\nconfig: c\ndata:\n  - {path: d.json}\n");
  const auto usual = recipe_keys(read_recipe(file, {}));
  for (const auto& [key, entry] : usual) {
    const auto other = other_values.find(key);
    ASSERT_NE(other, other_values.end()) << key << " has no row in this test";
    EXPECT_NE(entry.value, other->second) << key;
    std::vector<std::string> settings = {key + "=" + other->second};
    if (const auto it = beside.find(key); it != beside.end())
      settings.insert(settings.end(), it->second.begin(), it->second.end());
    std::map<std::string, RecipeKey> found;
    ASSERT_NO_THROW(found = recipe_keys(read_recipe(file, settings))) << key;
    EXPECT_EQ(found.at(key).value, other->second) << key;
  }
  EXPECT_EQ(usual.size(), other_values.size());
}

TEST(Recipe, HomeIsExpandedInEveryPath) {
  const Temporary place;
  const Path file = place.path / "recipe.yaml";
  write_file(file,
             "output_dir: ~/o\nconfig: ~/c\ntower: ~/w\ntokenizer: ~/t\n"
             "data:\n  - {path: ~/d.json}\neval_data:\n  - {path: ~/e.json}\neval_steps: 1\n");
  const Recipe r = read_recipe(file, {});
  const Path home = expand_home("~");
  EXPECT_NE(home, "~");
  EXPECT_EQ(r.output_dir, home / "o");
  EXPECT_EQ(r.config, home / "c");
  EXPECT_EQ(r.tower, home / "w");
  EXPECT_EQ(r.tokenizer, home / "t");
  EXPECT_EQ(r.data[0].path, home / "d.json");
  EXPECT_EQ(r.eval_data[0].path, home / "e.json");
  EXPECT_EQ(read_recipe(file, {"objective=dpo", "reference=~/r"}).reference, home / "r");
  EXPECT_EQ(read_recipe(file, {"config=", "tower=", "model=~/m"}).model, home / "m");
}

TEST(Recipe, WhatDoesNotGoTogetherIsRefused) {
  const Temporary place;
  const Path file = place.path / "recipe.yaml";
  write_file(file, "output_dir: o\nconfig: c\ndata:\n  - {path: d.json, mirror: true}\n");
  const auto refused = [&](std::vector<std::string> settings) -> std::string {
    try {
      read_recipe(file, settings);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing";
  };
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_PRED2(has, refused({"beta=1"}), "beta: expected nothing with objective: sft");
  EXPECT_PRED2(has, refused({"objective=dpo", "gamma=1"}), "gamma");
  EXPECT_PRED2(has, refused({"objective=simpo", "sft_weight=2"}), "sft_weight");
  EXPECT_PRED2(has, refused({"count_end_token=false"}), "count_end_token");
  EXPECT_PRED2(has, refused({"objective=po", "conversation_share=0.5"}), "conversation_share");
  EXPECT_PRED2(has, refused({"rows=infer", "conversation_share=0.5"}), "conversation_share");
  EXPECT_PRED2(has, refused({"objective=dpo"}), "reference");
  EXPECT_PRED2(has, refused({"objective=dpo", "reference=r"}), "no mirror");
  EXPECT_PRED2(has, refused({"reference=r"}), "reference");
  EXPECT_PRED2(has, refused({"eval_steps=5"}), "eval_data");
  EXPECT_PRED2(has, refused({"eval_data=[{path: e.json}]"}), "eval_steps");
  EXPECT_PRED2(has, refused({"eval_steps=5", "eval_data=[{path: e, shift: 0.1}]"}), "eval_data");
  EXPECT_PRED2(has, refused({"objective=ppo"}), "one of sft, po, simpo, dpo, ipo");
  EXPECT_PRED2(has, refused({"optim=sgd"}), "one of adamw_torch, adamw_8bit, muon");
  EXPECT_PRED2(has, refused({"parameter_groups=[{learning_rate: 1}]"}), "match");
  EXPECT_PRED2(has, refused({"parameter_groups=[{match: all, rate: 1}]"}),
               "parameter_groups[0]: rate");
  EXPECT_PRED2(has, refused({"trainable=[]"}), "trainable");
}

}  // namespace
}  // namespace revenant
