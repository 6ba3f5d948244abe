#include "train/recipe.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>

#include "base/error.h"

namespace revenant {
namespace {

// What a value should have been.
struct WrongValue : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A key: how its value is read, how it is written, and whether it may change while a run goes on.
struct Field {
  std::function<void(const YAML::Node&)> set;
  std::function<YAML::Node()> get;
  bool may_change = false;
};
using Fields = std::map<std::string, Field>;

template <class T>
Field value(T& place) {
  return {[&place](const YAML::Node& node) { place = node.as<T>(); },
          [&place] { return YAML::Node(place); }};
}

// `--set config=` takes a path away.
Field path(Path& place) {
  return {[&place](const YAML::Node& node) {
            place = node.IsNull() ? Path() : expand_home(node.as<std::string>());
          },
          [&place] { return YAML::Node(place.string()); }};
}

template <class T>
Field optional(std::optional<T>& place) {
  return {[&place](const YAML::Node& node) { place = node.as<T>(); },
          [&place] { return place ? YAML::Node(*place) : YAML::Node(); }};
}

// One of the names, in the order of the enum.
template <class T>
Field choice(T& place, std::vector<std::string> names) {
  const auto read = [&place, names](const YAML::Node& node) {
    const auto found = std::ranges::find(names, node.as<std::string>());
    if (found == names.end()) {
      std::string all;
      for (const std::string& name : names) all += (all.empty() ? "one of " : ", ") + name;
      throw WrongValue(all);
    }
    place = T(found - names.begin());
  };
  return {read, [&place, names] { return YAML::Node(names.at(size_t(place))); }};
}

// A list of names; a single one may stand without brackets.
Field names(std::vector<std::string>& place) {
  return {[&place](const YAML::Node& node) {
            place = node.IsSequence() ? node.as<std::vector<std::string>>()
                                      : std::vector<std::string>{node.as<std::string>()};
          },
          [&place] { return YAML::Node(place); }};
}

// The same where an empty list is as if the key were absent.
Field some_names(std::vector<std::string>& place) {
  return {names(place).set, [&place] { return place.empty() ? YAML::Node() : YAML::Node(place); }};
}

// Names by names; nothing (~) is an empty name.
Field mapping(std::map<std::string, std::string>& place) {
  const auto read = [&place](const YAML::Node& node) {
    if (!node.IsMap()) throw WrongValue("a mapping of names to names");
    place.clear();
    for (const auto& item : node) {
      const std::string name = item.first.as<std::string>();
      if (!place.emplace(name, item.second.IsNull() ? "" : item.second.as<std::string>()).second)
        throw WrongValue("each name once");
    }
  };
  return {read, [&place] { return place.empty() ? YAML::Node() : YAML::Node(place); }};
}

Field changeable(Field field) {
  field.may_change = true;
  return field;
}

void apply(const Fields& known, const std::string& key, const YAML::Node& node,
           const std::string& subject) {
  const auto it = known.find(key);
  if (it == known.end()) {
    std::string all;
    for (const auto& [name, field] : known) all += (all.empty() ? "" : ", ") + name;
    throw Error("recipe", subject + ": " + key, "one of " + all, "an unknown key");
  }
  const auto refuse = [&](const std::string& expected) {
    throw Error("recipe", subject + ": " + key, expected, "\"" + YAML::Dump(node) + "\"");
  };
  try {
    it->second.set(node);
  } catch (const YAML::Exception&) {
    refuse("a value of the right type");
  } catch (const WrongValue& wrong) {
    refuse(wrong.what());
  }
}

// Every pair of a mapping to its field.
void apply_all(const Fields& known, const YAML::Node& mapping, const std::string& subject) {
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

YAML::Node written(const Fields& fields) {
  YAML::Node node(YAML::NodeType::Map);
  for (const auto& [key, field] : fields)
    if (const YAML::Node value = field.get(); !value.IsNull()) node[key] = value;
  return node;
}

// A list of mappings, each with the fields of a T.
template <class T>
Field list(std::vector<T>& place, const std::string& key, const std::string& subject,
           Fields (*fields_of)(T&)) {
  const auto read = [&place, key, subject, fields_of](const YAML::Node& node) {
    if (!node.IsSequence()) throw WrongValue("a list");
    place.assign(node.size(), {});
    for (size_t i = 0; i < node.size(); ++i)
      apply_all(fields_of(place[i]), node[i], subject + ": " + key + "[" + std::to_string(i) + "]");
  };
  const auto write = [&place, fields_of] {
    YAML::Node node(YAML::NodeType::Sequence);
    for (T& item : place) node.push_back(written(fields_of(item)));
    return node;
  };
  return {read, write};
}

// One mapping, with the fields of a T.
template <class T>
Field group(T& place, const std::string& subject, Fields (*fields_of)(T&)) {
  const auto read = [&place, subject, fields_of](const YAML::Node& node) {
    place = {};
    apply_all(fields_of(place), node, subject);
  };
  return {read, [&place, fields_of] { return written(fields_of(place)); }};
}

Fields fields_of_data(RecipeData& data) {
  return {{"path", path(data.path)},         {"fields", mapping(data.fields)},
          {"tasks", some_names(data.tasks)}, {"make", value(data.make)},
          {"weight", value(data.weight)},    {"mirror", value(data.mirror)},
          {"shift", value(data.shift)}};
}

Fields fields_of_group(ParameterGroup& group) {
  return {{"match", names(group.match)},
          {"learning_rate", optional(group.learning_rate)},
          {"weight_decay", optional(group.weight_decay)},
          {"adam_epsilon", optional(group.adam_epsilon)}};
}

Fields fields_of_lora(Recipe::Lora& lora) {
  return {{"rank", value(lora.settings.rank)},
          {"alpha", value(lora.settings.alpha)},
          {"dropout", value(lora.settings.dropout)},
          {"match", names(lora.match)}};
}

// Every key of a recipe. What is compared by its content when a run goes on (configuration,
// tokenizer, data) may stand elsewhere then.
Fields fields_of(Recipe& r, const std::string& subject) {
  return {
      {"output_dir", changeable(path(r.output_dir))},
      {"model", changeable(path(r.model))},
      {"config", changeable(path(r.config))},
      {"tower", changeable(path(r.tower))},
      {"config_set", changeable(names(r.config_set))},
      {"tokenizer", changeable(path(r.tokenizer))},
      {"tokenizer_vocab", value(r.tokenizer_vocab)},
      {"data", changeable(list(r.data, "data", subject, fields_of_data))},
      {"eval_data", changeable(list(r.eval_data, "eval_data", subject, fields_of_data))},
      {"exif", choice(r.exif, {"ignore", "apply"})},
      {"objective", choice(r.objective.kind, {"sft", "po", "simpo", "dpo", "ipo"})},
      {"beta", value(r.objective.beta)},
      {"gamma", value(r.objective.gamma)},
      {"sft_weight", value(r.objective.sft_weight)},
      {"count_end_token", value(r.objective.count_end_token)},
      {"traverse_budget", value(r.objective.traverse_budget)},
      {"reference", changeable(path(r.reference))},
      {"trainable", names(r.trainable)},
      {"parameter_groups", list(r.parameter_groups, "parameter_groups", subject, fields_of_group)},
      {"lora", group(r.lora, subject + ": lora", fields_of_lora)},
      {"quantize", choice(r.quantize, {"none", "int8", "nf4", "released"})},
      {"rows", choice(r.rows, {"train", "infer"})},
      {"device", changeable(choice(r.device, {"auto", "cpu", "cuda"}))},
      {"seed", value(r.seed)},
      {"per_device_train_batch_size", value(r.per_device_train_batch_size)},
      {"questions_per_picture", value(r.questions_per_picture)},
      {"conversation_share", value(r.conversation_share)},
      {"max_length", value(r.max_length)},
      {"gradient_accumulation_steps", value(r.gradient_accumulation_steps)},
      {"max_steps", value(r.max_steps)},
      {"learning_rate", value(r.learning_rate)},
      {"min_learning_rate", value(r.min_learning_rate)},
      {"warmup_steps", value(r.warmup_steps)},
      {"lr_scheduler_type", choice(r.lr_scheduler_type, {"cosine", "warmup_stable_decay"})},
      {"decay_steps", value(r.decay_steps)},
      {"optim", choice(r.optim, {"adamw_torch", "adamw_8bit", "muon"})},
      {"weight_decay", value(r.weight_decay)},
      {"adam_beta1", value(r.adam_beta1)},
      {"adam_beta2", value(r.adam_beta2)},
      {"adam_epsilon", value(r.adam_epsilon)},
      {"muon_momentum", value(r.muon_momentum)},
      {"max_grad_norm", value(r.max_grad_norm)},
      {"packing", changeable(value(r.packing))},
      {"gradient_checkpointing", changeable(value(r.gradient_checkpointing))},
      {"tower_cache_mb", changeable(value(r.tower_cache_mb))},
      {"bf16", value(r.bf16)},
      {"nan_policy", changeable(choice(r.nan_policy, {"skip", "stop"}))},
      {"max_skipped_steps", changeable(value(r.max_skipped_steps))},
      {"eval_steps", changeable(value(r.eval_steps))},
      {"logging_steps", changeable(value(r.logging_steps))},
      {"save_steps", changeable(value(r.save_steps))},
      {"save_total_limit", changeable(value(r.save_total_limit))},
      {"save_dtype", changeable(choice(r.save_dtype, {"bfloat16", "float32"}))},
      {"report_to", changeable(choice(r.report_to, {"none", "tensorboard"}))}};
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

void check_data(const std::vector<RecipeData>& sets, const std::string& subject) {
  for (size_t i = 0; i < sets.size(); ++i) {
    const std::string at = subject + "[" + std::to_string(i) + "]";
    const RecipeData& data = sets[i];
    demand(!data.path.empty(), at, "path", "a file of rows", "");
    demand(data.weight > 0 && std::isfinite(data.weight), at, "weight", "a positive number",
           data.weight);
    demand(data.shift >= 0 && data.shift <= 0.5, at, "shift", "0 to 0.5", data.shift);
  }
}

void check_groups(const std::vector<ParameterGroup>& groups, const std::string& subject) {
  for (size_t i = 0; i < groups.size(); ++i) {
    const std::string at = subject + ": parameter_groups[" + std::to_string(i) + "]";
    const ParameterGroup& group = groups[i];
    demand(!group.match.empty(), at, "match", "at least one pattern", "");
    const auto number = [&](const char* key, const std::optional<double>& value, bool from_0) {
      if (value)
        demand(std::isfinite(*value) && (from_0 ? *value >= 0 : *value > 0), at, key,
               from_0 ? "a number from 0 up" : "a positive number", *value);
    };
    number("learning_rate", group.learning_rate, true);
    number("weight_decay", group.weight_decay, true);
    number("adam_epsilon", group.adam_epsilon, false);
  }
}

// Objective, what trains, and what they ask of each other.
void check_objective(const Recipe& r, const std::string& subject) {
  const auto is = [&](bool good, const char* key, const char* expected, const auto& found) {
    demand(good, subject, key, expected, found);
  };
  const ObjectiveConfig &c = r.objective, usual;
  is(c.beta > 0 && std::isfinite(c.beta), "beta", "a positive number", c.beta);
  is(std::isfinite(c.gamma), "gamma", "a number", c.gamma);
  is(c.sft_weight >= 0 && std::isfinite(c.sft_weight), "sft_weight", "a number from 0 up",
     c.sft_weight);
  is(c.traverse_budget >= 0 && std::isfinite(c.traverse_budget), "traverse_budget",
     "a number from 0 up", c.traverse_budget);
  using Kind = ObjectiveConfig::Kind;
  is(c.kind != Kind::sft || c.count_end_token, "count_end_token", "true with objective: sft",
     "false");
  is(c.kind != Kind::sft || c.beta == usual.beta, "beta", "nothing with objective: sft", c.beta);
  is(c.kind == Kind::po || c.kind == Kind::simpo || c.gamma == usual.gamma, "gamma",
     "nothing but with objective: po or simpo", c.gamma);
  is(c.kind == Kind::po || c.sft_weight == usual.sft_weight, "sft_weight",
     "nothing but with objective: po", c.sft_weight);
  is(c.takes_reference() || r.reference.empty(), "reference",
     "nothing but with objective: dpo or ipo", r.reference.string());
  is(!c.takes_pairs() || r.conversation_share == 0, "conversation_share",
     "0 where answers come in pairs", r.conversation_share);
  is(r.rows == Recipe::Rows::train || r.conversation_share == 0, "conversation_share",
     "0 with rows: infer", r.conversation_share);
  is(!c.takes_reference() || !r.model.empty() || !r.reference.empty(), "reference",
     "a model to hold against, where the run begins with fresh weights", "");
  if (c.takes_reference())
    for (const RecipeData& data : r.data)
      is(!data.mirror && data.shift == 0, "data",
         "no mirror and no shift where a reference is taken, which sees each picture once",
         data.path.string());
  is(!r.trainable.empty() || r.lora.on(), "trainable", "at least one part or pattern", "");
}

void check_lora(const Recipe& r, const std::string& subject) {
  const Recipe::Lora& lora = r.lora;
  const auto is = [&](bool good, const char* key, const char* expected, const auto& found) {
    demand(good, subject + ": lora", key, expected, found);
  };
  is(lora.settings.rank >= 0, "rank", "a number from 0 up", lora.settings.rank);
  if (!lora.on()) {
    is(lora.match.empty(), "rank", "a positive number", lora.settings.rank);
    return;
  }
  is(lora.settings.alpha > 0 && std::isfinite(lora.settings.alpha), "alpha", "a positive number",
     lora.settings.alpha);
  is(lora.settings.dropout >= 0 && lora.settings.dropout < 1, "dropout", "0 to below 1",
     lora.settings.dropout);
  is(!lora.match.empty(), "match", "at least one part or pattern", "");
  demand(!r.model.empty(), subject, "model", "a model, which lora leaves as it is", "");
  demand(r.trainable != Recipe().trainable, subject, "trainable",
         "with lora, what trains whole beside the adapters ([projector, mechanism], or [])", "all");
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
  is(r.tower.empty() || r.model.empty(), "tower", "nothing with model, which has one",
     r.tower.string());
  is(!r.data.empty(), "data", "at least one set", "");
  check_data(r.data, subject + ": data");
  check_data(r.eval_data, subject + ": eval_data");
  check_groups(r.parameter_groups, subject);
  check_objective(r, subject);
  check_lora(r, subject);
  is(r.quantize == Recipe::Quantize::none || !r.model.empty(), "model",
     "a model, whose frozen matrices are quantised", "");
  for (const RecipeData& data : r.eval_data)
    is(data.weight == 1 && !data.mirror && data.shift == 0, "eval_data",
       "no weight, mirror or shift: every row once, as it is", data.path.string());
  is(r.eval_steps == 0 || !r.eval_data.empty(), "eval_data", "a set, with eval_steps", "");
  is(r.eval_steps > 0 || r.eval_data.empty(), "eval_steps", "a positive number, with eval_data",
     r.eval_steps);
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
  at_least_0("tower_cache_mb", r.tower_cache_mb);
  at_least_0("max_length", r.max_length);
  at_least_0("eval_steps", r.eval_steps);
  at_least_0("max_skipped_steps", r.max_skipped_steps);
  at_least_0("weight_decay", r.weight_decay);
  at_least_0("max_grad_norm", r.max_grad_norm);
  from_0_to_1("adam_beta1", r.adam_beta1);
  from_0_to_1("adam_beta2", r.adam_beta2);
  from_0_to_1("muon_momentum", r.muon_momentum);
  is(r.adam_epsilon > 0, "adam_epsilon", "a positive number", r.adam_epsilon);
  const bool level = r.lr_scheduler_type == Recipe::Schedule::warmup_stable_decay;
  is(level ? r.decay_steps > 0 && r.decay_steps <= r.max_steps - r.warmup_steps
           : r.decay_steps == 0,
     "decay_steps", "1 to max_steps - warmup_steps with warmup_stable_decay, else 0",
     r.decay_steps);
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
  const Fields known = fields_of(recipe, subject);
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

std::map<std::string, RecipeKey> recipe_keys(const Recipe& recipe) {
  Recipe copy = recipe;
  std::map<std::string, RecipeKey> keys;
  for (const auto& [key, field] : fields_of(copy, "")) {
    YAML::Emitter out;
    out.SetMapFormat(YAML::Flow);
    out.SetSeqFormat(YAML::Flow);
    out << field.get();
    keys[key] = {out.c_str(), field.may_change};
  }
  return keys;
}

double learning_rate_at(const Recipe& r, int step) {
  if (step < r.warmup_steps) return r.learning_rate * (step + 1) / r.warmup_steps;
  const double range = r.learning_rate - r.min_learning_rate;
  if (r.lr_scheduler_type == Recipe::Schedule::warmup_stable_decay)
    return r.min_learning_rate + range * std::min(1.0, double(r.max_steps - step) / r.decay_steps);
  const double share = double(step - r.warmup_steps) / std::max(1, r.max_steps - r.warmup_steps);
  return r.min_learning_rate + 0.5 * range * (1 + std::cos(3.141592653589793 * share));
}

}  // namespace revenant
