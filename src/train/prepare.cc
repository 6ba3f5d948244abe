#include "train/prepare.h"

#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "image/orientation.h"
#include "io/checkpoint.h"
#include "store/model_files.h"
#include "text/train_bpe.h"
#include "train/adapters.h"
#include "train/device.h"
#include "train/objective.h"
#include "train/reference.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

bool trains_tokenizer(const Recipe& recipe) {
  return recipe.tokenizer.empty() && recipe.model.empty();
}

Path tokenizer_directory_of(const Recipe& recipe) {
  if (!trains_tokenizer(recipe)) return recipe.tokenizer.empty() ? recipe.model : recipe.tokenizer;
  const Path own = recipe.output_dir / "tokenizer";
  const std::vector<Path> checkpoints = checkpoints_in(recipe.output_dir);
  return checkpoints.empty() || fs::exists(own) ? own : checkpoints.front();
}

// A tokenizer.json for the questions and answers of the data.
std::string trained_tokenizer(const Recipe& recipe, const TrainingData& data) {
  std::vector<std::string> texts;
  for (const TrainingSet& set : data.sets)
    for (const Row& row : set.rows) {
      texts.push_back(row.question + "\n" + row.answer);
      for (const Exchange& turn : row.later) texts.push_back(turn.question + "\n" + turn.answer);
    }
  const std::vector<std::string> specials = {"<|endoftext|>", "<|im_start|>", "<|im_end|>",
                                             "<img>",         "</img>",       "<IMG_CONTEXT>"};
  return train_byte_bpe(texts, recipe.tokenizer_vocab, specials);
}

Path config_file_of(const Recipe& recipe) {
  return recipe.config.empty() ? recipe.model / "config.json" : recipe.config;
}

// The config of a fresh model, but for what its tokenizer will say, or that of the model that the
// recipe goes on from.
Json config_of(const Recipe& recipe) {
  const Path file = config_file_of(recipe);
  Json json = with_settings(read_json(file, "train"), recipe.config_set);
  if (!json.is_object() || (recipe.model.empty() && !json.contains("llm_config")))
    throw Error("train", file.string(), "a JSON object with llm_config", "something else");
  if (!recipe.model.empty()) return json;
  for (const std::string& setting : recipe.config_set)
    for (const char* key :
         {"llm_config.vocab_size=", "image_token_index=", "eos_token_id=", "pad_token_id="})
      if (setting.starts_with(key))
        throw Error("recipe", "config_set", "nothing that the tokenizer says", setting);
  json["llm_config"]["vocab_size"] = recipe.tokenizer_vocab;
  return json;
}

// A tokenizer that the recipe brings must know what the prompt needs, and fit the model.
void check_tokenizer(const Recipe& recipe, const Config& config, const PromptRule& rule) {
  const Path directory = tokenizer_directory_of(recipe);
  const Tokenizer tokenizer = tokenizer_for(rule, Tokenizer::open(directory));
  if (recipe.model.empty()) return;
  check_fit(rule, tokenizer, config.image_token, config.embedding_rows, directory.string());
}

// With the ids that only the tokenizer knows.
Json completed(Json json, const Tokenizer& tokenizer, const PromptRule& rule) {
  json["llm_config"]["vocab_size"] = tokenizer.size();
  json["image_token_index"] = tokenizer.id_of(rule.context_token);
  json["eos_token_id"] = json["pad_token_id"] = stop_ids(rule, tokenizer).front();
  return json;
}

Json identity_of(const TrainingSet& set) {
  Json identity = {{"sha256", set.sha256},
                   {"weight", set.recipe.weight},
                   {"mirror", set.recipe.mirror},
                   {"shift", set.recipe.shift}};
  if (!set.recipe.fields.empty()) identity["fields"] = set.recipe.fields;
  if (!set.recipe.tasks.empty()) identity["tasks"] = set.recipe.tasks;
  return identity;
}

// What must stay the same while the run goes on: the recipe's keys that touch its numbers, and the
// data by content.
Json identity_of(const Recipe& recipe, const TrainingData& data) {
  Json identity = Json::object();
  for (const auto& [key, entry] : recipe_keys(recipe))
    if (!entry.may_change) identity[key] = entry.value;
  if (!trains_tokenizer(recipe)) identity.erase("tokenizer_vocab");
  identity["data"] = Json::array();
  for (const TrainingSet& set : data.sets) identity["data"].push_back(identity_of(set));
  if (recipe.objective.takes_reference()) identity["reference"] = reference_digest(recipe);
  if (recipe.lora.on())  // checkpoints hold only what differs from it
    identity["base"] = ModelFiles::open(recipe.model).digest();
  return identity;
}

// All patterns over weights, with the keys that they stand in.
std::vector<std::pair<std::vector<std::string>, std::string>> patterns_of(const Recipe& recipe) {
  std::vector<std::pair<std::vector<std::string>, std::string>> all = {
      {recipe.trainable, "trainable"}};
  for (const ParameterGroup& group : recipe.parameter_groups)
    all.emplace_back(group.match, "parameter_groups: match");
  return all;
}

// A run goes on as what it began as. `config` is what the recipe asks for.
void check_same(const Recipe& recipe, const Preparation& p, const Json& config,
                const Path& checkpoint) {
  if (config != p.run.model.config_json)
    throw Error("train", config_file_of(recipe).string(),
                "the configuration that the run in " + recipe.output_dir.string() + " began with",
                "another");
  if (p.tokenizer_texts != read_tokenizer_texts(checkpoint))
    throw Error("train", tokenizer_directory_of(recipe).string(),
                "the tokenizer of " + checkpoint.string(), "another");
}

// Losses over other rows are no measure for those to come.
void check_best(const TrainingData& eval_data, const Tell& tell, TrainerState& state) {
  Json sets = Json::array();
  for (const TrainingSet& set : eval_data.sets) sets.push_back(identity_of(set));
  if (state.best_step > 0 && !state.eval_data.is_null() && state.eval_data != sets) {
    tell("eval_data is another than before: the best checkpoint is looked for anew");
    state.best_step = 0;
  }
  state.eval_data = std::move(sets);
}

void start(const Recipe& recipe, const Json& config, const Tell& tell, Run& run,
           const Ranks& ranks) {
  run.model = recipe.model.empty()
                  ? init_torch_model(config, recipe.seed)
                  : load_to_train(recipe.model, recipe.config_set, base_of(recipe));
  if (!recipe.tower.empty()) take_tower(run.model, recipe.tower);
  for (const std::string& warning : run.model.warnings) tell(warning);
  const TrolConfig& trol = run.model.config.trol;
  const bool gated = trol.mixing == TrolMixing::gated || trol.mixing == TrolMixing::constant;
  if (recipe.objective.traverse_budget > 0 && (trol.streams() == 1 || !gated))
    throw Error("train", "traverse_budget", "a model whose prompts traverse (TroL), by a gate",
                run.model.config.architecture + ", trol_mixing " + name_of(trol.mixing));
  set_trainable(run.model, recipe);
  if (recipe.lora.on()) add_adapters(run.model, recipe);
  move_to(run.model, device_of(recipe.device));
  run.optimizer.emplace(recipe, run.model, ranks);
}

// An evaluation that finds nothing to look at would come after hours.
void check_evaluation(const Recipe& recipe, const Preparation& p) {
  const Config& config = p.run.model.config;
  const BatchMaker maker{config, *p.tokenizer, *p.rule, tile_rule(config),
                         evaluation_options(recipe)};
  std::string reason;
  for (const std::vector<Pick>& picks : picks_in_order(p.eval_data, 1)) {
    const TorchBatch batch = maker.make(picks);
    if (objective_of(recipe.objective).weight(batch) > 0) return;
    if (reason.empty() && !batch.left_out.empty()) reason = batch.left_out.front();
  }
  if (!p.eval_data.sets.empty())
    throw Error("train", "eval_data", "a row that can be used", "none; the first: " + reason);
}

// Every picture's head is looked at once: what cannot be read will be left out of its step.
void tell_pictures(const Recipe& recipe, const Preparation& p, const Tell& tell) {
  std::set<Path> pictures;
  for (const TrainingData* data : {&p.data, &p.eval_data})
    for (const TrainingSet& set : data->sets) pictures.merge(picture_files(set.rows));
  const Survey seen = survey(pictures);
  const std::string note = orientation_note(seen, recipe.exif);
  if (!note.empty()) tell(note);
  for (size_t i = 0; i < std::min(seen.damaged.size(), size_t(10)); ++i)
    tell("cannot be read: " + seen.damaged[i]);
  if (!seen.damaged.empty())
    tell(std::to_string(seen.damaged.size()) + " of " + std::to_string(seen.pictures) +
         " pictures cannot be read; their rows will be left out and counted");
}

// A run fresh or gone on with; rank 0 says from which checkpoint, "": from none.
void begin(const Recipe& recipe, const Json& config, const Json& identity, const Tell& tell,
           const Ranks& ranks, const std::string& checkpoint, Preparation& p) {
  if (ranks.first()) {
    p.checkpoint = go_on(recipe, identity, tell, p.run, ranks);
    if (p.checkpoint) check_same(recipe, p, config, *p.checkpoint);
  } else if (!checkpoint.empty()) {
    p.checkpoint = checkpoint;
    go_on_from(checkpoint, recipe, p.run, ranks);
  }
  if (!p.checkpoint) start(recipe, config, tell, p.run, ranks);
  p.run.state.run = identity;
}

// One rank's; the first locks and writes.
std::unique_ptr<Preparation> prepared(const Recipe& recipe, const Tell& tell, const Ranks& ranks,
                                      const std::string& checkpoint) {
  device_of(recipe.device);  // throws early
  auto p = std::make_unique<Preparation>();
  p->data = read_training_data(recipe.data, recipe.objective.takes_pairs());
  p->eval_data = read_training_data(recipe.eval_data, recipe.objective.takes_pairs());
  if (ranks.first()) tell_pictures(recipe, *p, tell);
  Json config = config_of(recipe);
  const Config parsed = parse_config(config, config_file_of(recipe).string());
  p->rule = &prompt_rule(prompt_family(parsed));
  const Path tokenizer_directory = tokenizer_directory_of(recipe);
  std::string made_tokenizer;
  if (!trains_tokenizer(recipe))
    check_tokenizer(recipe, parsed, *p->rule);
  else if (ranks.first() && checkpoints_in(recipe.output_dir).empty())
    made_tokenizer = trained_tokenizer(recipe, p->data);
  const TensorSpecs specs = unique_tensors(parsed);
  check_adapters(recipe, specs);
  for (const auto& [patterns, key] : patterns_of(recipe)) selected(specs, patterns, key);
  const Json identity = identity_of(recipe, p->data);
  // Up to here nothing is written.
  if (ranks.first()) {
    p->lock = std::make_unique<DirectoryLock>(recipe.output_dir);
    remove_leftovers(recipe.output_dir);
  }
  if (!made_tokenizer.empty()) {
    fs::create_directories(tokenizer_directory);
    write_file(tokenizer_directory / "tokenizer.json", made_tokenizer);
  }
  p->tokenizer = tokenizer_for(*p->rule, Tokenizer::open(tokenizer_directory));
  p->tokenizer_texts = read_tokenizer_texts(tokenizer_directory);
  if (recipe.model.empty()) config = completed(config, *p->tokenizer, *p->rule);
  begin(recipe, config, identity, tell, ranks, checkpoint, *p);
  check_best(p->eval_data, tell, p->run.state);
  p->run.model.recompute = recipe.gradient_checkpointing;
  if (recipe.tower_cache_mb > 0 && tower_is_frozen(p->run.model))
    p->run.model.tower_cache = std::make_shared<TowerCache>(size_t(recipe.tower_cache_mb) << 20);
  tell(trainable_report(p->run.model));
  tell("computes on " + described(p->run.model.device()) +
       (ranks.size() > 1 ? ", in " + std::to_string(ranks.size()) + " processes" : ""));
  if (recipe.objective.takes_reference()) add_reference(recipe, *p, tell);
  if (ranks.first()) check_evaluation(recipe, *p);
  return p;
}

// Processes of one run: of the same recipe, data and kind of device.
void check_ranks_alike(const Recipe& recipe, const Preparation& p, const Ranks& ranks) {
  const auto all = ranks.each([&] {
    Json own = p.run.state.run;
    for (const char* key : {"eval_steps", "logging_steps", "save_steps"})
      own[key] = recipe_keys(recipe).at(key).value;
    own["device"] = p.run.model.device().is_cpu() ? "cpu" : "cuda";
    return own;
  });
  ranks.each([&] {
    for (const auto& [key, value] : all.front().items())
      if (all[size_t(ranks.rank())].value(key, Json()) != value)
        throw Error("train", key, "what rank 0 has, " + json_text(value),
                    json_text(all[size_t(ranks.rank())].value(key, Json())));
    return Json();
  });
}

}  // namespace

std::unique_ptr<Preparation> prepare(const Recipe& recipe, const Tell& tell, const Ranks& ranks) {
  std::unique_ptr<Preparation> p;
  const auto checkpoint = ranks.each([&] {
    if (ranks.first()) p = prepared(recipe, tell, ranks, "");
    return p && p->checkpoint ? p->checkpoint->string() : "";
  });
  ranks.each([&] {
    if (!ranks.first())
      p = prepared(
          recipe, [](const std::string&) {}, ranks, checkpoint.front());
    ranks.reach(p->run.model.device());
    return Json();
  });
  check_ranks_alike(recipe, *p, ranks);
  std::vector<torch::Tensor> weights;
  for (const auto& [name, weight] : trained(p->run.model)) weights.push_back(weight);
  ranks.share(weights, 0);  // fresh ones are drawn, on another machine perhaps a bit otherwise
  return p;
}

}  // namespace revenant
