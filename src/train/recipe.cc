#include "train/recipe.h"

#include <yaml-cpp/yaml.h>

#include <cmath>
#include <functional>
#include <map>

#include "base/error.h"

namespace revenant {
namespace {

using Setter = std::function<void(const YAML::Node&)>;

template <class T>
Setter into(T& place) {
  return [&place](const YAML::Node& node) { place = node.as<T>(); };
}

Setter into_path(Path& place) {
  return [&place](const YAML::Node& node) { place = node.as<std::string>(); };
}

RecipeData read_data(const YAML::Node& node, const std::string& subject) {
  RecipeData data;
  for (const auto& item : node) {
    const auto key = item.first.as<std::string>();
    if (key == "path")
      data.path = item.second.as<std::string>();
    else if (key == "make")
      data.make = item.second.as<std::string>();
    else if (key == "weight")
      data.weight = item.second.as<double>();
    else if (key == "mirror")
      data.mirror = item.second.as<bool>();
    else if (key == "shift")
      data.shift = item.second.as<double>();
    else
      throw Error("recipe", subject + ": data." + key, "path, make, weight, mirror or shift",
                  "an unknown key");
  }
  if (data.path.empty()) throw Error("recipe", subject + ": data.path", "a JSON file", "nothing");
  if (!(data.weight > 0))
    throw Error("recipe", subject + ": data.weight", "a positive number",
                std::to_string(data.weight));
  if (!(data.shift >= 0 && data.shift <= 0.5))
    throw Error("recipe", subject + ": data.shift", "0 to 0.5", std::to_string(data.shift));
  return data;
}

std::map<std::string, Setter> setters(Recipe& r, const std::string& subject) {
  return {{"output_dir", into_path(r.output_dir)},
          {"model", into_path(r.model)},
          {"config", into_path(r.config)},
          {"tokenizer", into_path(r.tokenizer)},
          {"tokenizer_vocab", into(r.tokenizer_vocab)},
          {"seed", into(r.seed)},
          {"per_device_train_batch_size", into(r.per_device_train_batch_size)},
          {"questions_per_picture", into(r.questions_per_picture)},
          {"conversation_share", into(r.conversation_share)},
          {"gradient_accumulation_steps", into(r.gradient_accumulation_steps)},
          {"max_steps", into(r.max_steps)},
          {"learning_rate", into(r.learning_rate)},
          {"min_learning_rate", into(r.min_learning_rate)},
          {"warmup_steps", into(r.warmup_steps)},
          {"lr_scheduler_type", into(r.lr_scheduler_type)},
          {"decay_steps", into(r.decay_steps)},
          {"optim", into(r.optim)},
          {"weight_decay", into(r.weight_decay)},
          {"adam_beta1", into(r.adam_beta1)},
          {"adam_beta2", into(r.adam_beta2)},
          {"adam_epsilon", into(r.adam_epsilon)},
          {"muon_momentum", into(r.muon_momentum)},
          {"max_grad_norm", into(r.max_grad_norm)},
          {"bf16", into(r.bf16)},
          {"logging_steps", into(r.logging_steps)},
          {"save_steps", into(r.save_steps)},
          {"save_total_limit", into(r.save_total_limit)},
          {"save_dtype", into(r.save_dtype)},
          {"data", [&r, subject](const YAML::Node& node) {
             if (!node.IsSequence())
               throw Error("recipe", subject + ": data", "a list", "something else");
             r.data.clear();
             for (const YAML::Node& item : node) r.data.push_back(read_data(item, subject));
           }}};
}

void apply(const std::map<std::string, Setter>& known, const std::string& key,
           const YAML::Node& value, const std::string& subject) {
  const auto it = known.find(key);
  if (it == known.end())
    throw Error("recipe", subject + ": " + key, "a known key (docs/training.md)", "an unknown one");
  try {
    it->second(value);
  } catch (const YAML::Exception&) {
    throw Error("recipe", subject + ": " + key, "a value of the right type",
                "\"" + YAML::Dump(value) + "\"");
  }
}

void check(const Recipe& r, const std::string& subject) {
  const auto demand = [&](bool good, const char* key, const char* expected) {
    if (!good) throw Error("recipe", subject + ": " + key, expected, "another value or nothing");
  };
  demand(!r.output_dir.empty(), "output_dir", "a directory");
  demand(r.model.empty() != r.config.empty(), "model, config", "exactly one of the two");
  demand(!r.data.empty(), "data", "at least one set");
  demand(r.per_device_train_batch_size > 0, "per_device_train_batch_size", "a positive number");
  demand(r.questions_per_picture > 0, "questions_per_picture", "a positive number");
  demand(r.conversation_share >= 0 && r.conversation_share <= 1, "conversation_share", "0 to 1");
  demand(r.gradient_accumulation_steps > 0, "gradient_accumulation_steps", "a positive number");
  demand(r.max_steps > 0, "max_steps", "a positive number");
  demand(r.logging_steps > 0, "logging_steps", "a positive number");
  demand(r.save_steps > 0, "save_steps", "a positive number");
  demand(r.save_total_limit > 0, "save_total_limit", "a positive number");
  demand(r.warmup_steps >= 0, "warmup_steps", "zero or more");
  const bool level = r.lr_scheduler_type == "warmup_stable_decay";
  demand(level || r.lr_scheduler_type == "cosine", "lr_scheduler_type",
         "cosine or warmup_stable_decay");
  demand(level ? r.decay_steps > 0 && r.decay_steps <= r.max_steps - r.warmup_steps
               : r.decay_steps == 0,
         "decay_steps", "1 to max_steps - warmup_steps with warmup_stable_decay, else 0");
  demand(r.optim == "adamw_torch" || r.optim == "muon", "optim", "adamw_torch or muon");
  demand(r.muon_momentum >= 0 && r.muon_momentum < 1, "muon_momentum", "0 to below 1");
  demand(r.save_dtype == "bfloat16" || r.save_dtype == "float32", "save_dtype",
         "bfloat16 or float32");
}

}  // namespace

Recipe read_recipe(const Path& file, const std::vector<std::string>& settings) {
  Recipe recipe;
  const std::string subject = file.string();
  const auto known = setters(recipe, subject);
  YAML::Node root;
  try {
    root = YAML::Load(read_file(file));
  } catch (const YAML::Exception& error) {
    throw Error("recipe", subject, error.what());
  }
  if (!root.IsMap()) throw Error("recipe", subject, "a YAML mapping", "something else");
  for (const auto& item : root) apply(known, item.first.as<std::string>(), item.second, subject);
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos) throw Error("recipe", "--set", "key=value", setting);
    apply(known, setting.substr(0, equals), YAML::Load(setting.substr(equals + 1)), "--set");
  }
  check(recipe, subject);
  return recipe;
}

double learning_rate_at(const Recipe& r, int step) {
  if (step < r.warmup_steps) return r.learning_rate * (step + 1) / r.warmup_steps;
  const double range = r.learning_rate - r.min_learning_rate;
  if (r.lr_scheduler_type == "warmup_stable_decay")
    return r.min_learning_rate + range * std::min(1.0, double(r.max_steps - step) / r.decay_steps);
  const double share = double(step - r.warmup_steps) / std::max(1, r.max_steps - r.warmup_steps);
  return r.min_learning_rate + 0.5 * range * (1 + std::cos(3.141592653589793 * share));
}

}  // namespace revenant
