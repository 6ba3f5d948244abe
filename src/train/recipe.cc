#include "train/recipe.h"

#include <yaml-cpp/yaml.h>

#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <sstream>

#include "base/error.h"

namespace revenant {
namespace {

using Setter = std::function<void(const YAML::Node&)>;

template <class T>
Setter into(T& place) {
  return [&place](const YAML::Node& node) { place = node.as<T>(); };
}

Setter into_path(Path& place) {
  return [&place](const YAML::Node& node) {
    place =
        node.IsNull() ? std::string() : node.as<std::string>();  // `--set config=` takes it away
  };
}

void apply(const std::map<std::string, Setter>& known, const std::string& key,
           const YAML::Node& value, const std::string& subject) {
  const auto it = known.find(key);
  if (it == known.end()) {
    std::string names;
    for (const auto& [name, setter] : known) names += (names.empty() ? "" : ", ") + name;
    throw Error("recipe", subject + ": " + key, "one of " + names, "an unknown key");
  }
  try {
    it->second(value);
  } catch (const YAML::Exception&) {
    throw Error("recipe", subject + ": " + key, "a value of the right type",
                "\"" + YAML::Dump(value) + "\"");
  }
}

// Every pair of a mapping to its setter.
void apply_all(const std::map<std::string, Setter>& known, const YAML::Node& mapping,
               const std::string& subject) {
  if (!mapping.IsMap()) throw Error("recipe", subject, "a YAML mapping", "something else");
  std::set<std::string> seen;
  for (const auto& item : mapping) {
    if (!item.first.IsScalar())
      throw Error("recipe", subject, "plain keys", YAML::Dump(item.first));
    if (!seen.insert(item.first.Scalar()).second)
      throw Error("recipe", subject + ": " + item.first.Scalar(), "each key once", "it again");
    apply(known, item.first.Scalar(), item.second, subject);
  }
}

template <class T>
void demand(bool good, const std::string& subject, const char* key, const char* expected,
            const T& found) {
  if (good) return;
  std::ostringstream text;
  text << found;
  throw Error("recipe", subject + ": " + key, expected,
              text.str().empty() ? "nothing" : text.str());
}

RecipeData read_data(const YAML::Node& node, const std::string& subject) {
  RecipeData data;
  apply_all({{"path", into_path(data.path)},
             {"make", into(data.make)},
             {"weight", into(data.weight)},
             {"mirror", into(data.mirror)},
             {"shift", into(data.shift)}},
            node, subject);
  demand(!data.path.empty(), subject, "path", "a JSON file", "");
  demand(data.weight > 0 && std::isfinite(data.weight), subject, "weight", "a positive number",
         data.weight);
  demand(data.shift >= 0 && data.shift <= 0.5, subject, "shift", "0 to 0.5", data.shift);
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
             for (const YAML::Node& item : node)
               r.data.push_back(
                   read_data(item, subject + ": data[" + std::to_string(r.data.size()) + "]"));
           }}};
}

void check(const Recipe& r, const std::string& subject) {
  const auto is = [&](bool good, const char* key, const char* expected, const auto& found) {
    demand(good, subject, key, expected, found);
  };
  const auto counts = [&](const char* key, int value) {
    is(value > 0, key, "a positive number", value);
  };
  const auto from_0_to_1 = [&](const char* key, double value) {
    is(value >= 0 && value < 1, key, "0 to below 1", value);
  };
  const auto at_least_0 = [&](const char* key, double value) {
    is(value >= 0 && std::isfinite(value), key, "a number from 0 up", value);
  };
  is(!r.output_dir.empty(), "output_dir", "a directory", "");
  is(r.model.empty() != r.config.empty(), "model, config", "exactly one of the two",
     r.model.empty() ? "neither" : "both");
  is(!r.data.empty(), "data", "at least one set", "");
  counts("tokenizer_vocab", r.tokenizer_vocab);
  counts("per_device_train_batch_size", r.per_device_train_batch_size);
  counts("questions_per_picture", r.questions_per_picture);
  counts("gradient_accumulation_steps", r.gradient_accumulation_steps);
  counts("max_steps", r.max_steps);
  counts("logging_steps", r.logging_steps);
  counts("save_steps", r.save_steps);
  counts("save_total_limit", r.save_total_limit);
  is(r.conversation_share >= 0 && r.conversation_share <= 1, "conversation_share", "0 to 1",
     r.conversation_share);
  is(r.learning_rate > 0 && std::isfinite(r.learning_rate), "learning_rate", "a positive number",
     r.learning_rate);
  is(r.min_learning_rate >= 0 && r.min_learning_rate <= r.learning_rate, "min_learning_rate",
     "0 to learning_rate", r.min_learning_rate);
  at_least_0("warmup_steps", r.warmup_steps);
  at_least_0("weight_decay", r.weight_decay);
  at_least_0("max_grad_norm", r.max_grad_norm);
  from_0_to_1("adam_beta1", r.adam_beta1);
  from_0_to_1("adam_beta2", r.adam_beta2);
  from_0_to_1("muon_momentum", r.muon_momentum);
  is(r.adam_epsilon > 0, "adam_epsilon", "a positive number", r.adam_epsilon);
  const bool level = r.lr_scheduler_type == "warmup_stable_decay";
  is(level || r.lr_scheduler_type == "cosine", "lr_scheduler_type", "cosine or warmup_stable_decay",
     r.lr_scheduler_type);
  is(level ? r.decay_steps > 0 && r.decay_steps <= r.max_steps - r.warmup_steps
           : r.decay_steps == 0,
     "decay_steps", "1 to max_steps - warmup_steps with warmup_stable_decay, else 0",
     r.decay_steps);
  is(r.optim == "adamw_torch" || r.optim == "muon", "optim", "adamw_torch or muon", r.optim);
  is(r.save_dtype == "bfloat16" || r.save_dtype == "float32", "save_dtype", "bfloat16 or float32",
     r.save_dtype);
}

YAML::Node yaml_of(const std::string& text, const std::string& subject) {
  try {
    return YAML::Load(text);
  } catch (const YAML::Exception& error) {
    throw Error("recipe", subject, error.what());
  }
}

}  // namespace

Recipe read_recipe(const Path& file, const std::vector<std::string>& settings) {
  Recipe recipe;
  const std::string subject = file.string();
  const auto known = setters(recipe, subject);
  const YAML::Node root = yaml_of(read_file(file), subject);
  apply_all(known, root, subject);
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos) throw Error("recipe", "--set", "key=value", setting);
    const std::string key = setting.substr(0, equals), value = setting.substr(equals + 1);
    apply(known, key, yaml_of(value, "--set: " + key), "--set");
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
