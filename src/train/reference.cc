#include "train/reference.h"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/stop.h"
#include "io/safetensors.h"
#include "train/device.h"
#include "train/parameters.h"
#include "train/stop_signal.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;

// What is computed from: the model as it is used.
struct Reference {
  Path directory;
  std::vector<std::string> settings;
  BaseOf base;
};
Reference reference_of(const Recipe& recipe) {
  if (!recipe.reference.empty()) return {recipe.reference, {}, {}};
  return {recipe.model, recipe.config_set, base_of(recipe)};  // what the run began as
}

std::string key_of(const std::string& model, const TokenizerTexts& tokenizer,
                   const TrainingSet& set, const BatchOptions& options, bool bf16) {
  Sha256 digest;
  digest.add(model).add(set.sha256).add(digest_of(tokenizer));
  for (const auto& [ours, theirs] : set.recipe.fields) digest.add(ours + ": " + theirs + " ");
  for (const std::string& task : set.recipe.tasks) digest.add("task " + task + " ");
  for (const Row& row : set.rows)
    for (const Picture& picture : row.images)
      if (!picture.inside)
        digest.add(std::to_string(fs::file_size(picture.file)) + " " +
                   std::to_string(fs::last_write_time(picture.file).time_since_epoch().count()) +
                   " ");
  digest.add(std::to_string(options.count_end_token) + std::to_string(options.as_inferred) +
             std::to_string(options.max_length) + std::to_string(bf16) +
             std::to_string(int(options.exif)));
  return digest.digits().substr(0, 24);
}

ReferenceScores nothing_known(size_t rows) {
  const std::vector<double> none(rows, std::numeric_limits<double>::quiet_NaN());
  return {none, none};
}

bool any_known(const ReferenceScores& scores, const RowGroup& group) {
  for (size_t row = group.begin; row < group.end; ++row)
    if (!std::isnan(scores.chosen[row])) return true;
  return false;
}

// Adds to `scores` what is not known yet, and has it kept now and then. Each picture is looked at
// once, whatever is asked about it.
void compute(const TorchModel& model, const BatchMaker& maker, const TrainingSet& set, bool bf16,
             ReferenceScores& scores, const std::function<void()>& keep) {
  using Clock = std::chrono::steady_clock;
  const torch::NoGradGuard no_grad;
  auto kept = Clock::now();
  for (const RowGroup& group : set.groups) {
    if (any_known(scores, group)) continue;
    if (stop_signal || Clock::now() - kept > std::chrono::seconds(30)) {
      keep();
      kept = Clock::now();
    }
    if (stop_signal) throw Stopped();
    const Pick pick{&set, group, 0};
    const TorchBatch batch = maker.make({&pick, 1});
    if (batch.pairs.empty()) continue;
    const Autocast autocast(bf16, model.device());
    const torch::Tensor sums = score_answers(model, batch).sums.cpu();
    for (const AnswerPair& pair : batch.pairs) {
      scores.chosen[pair.row] = sums[pair.chosen].item<double>();
      scores.rejected[pair.row] = sums[pair.rejected].item<double>();
    }
  }
}

void save(const Path& file, const ReferenceScores& scores) {
  const auto named = [](const char* name, const std::vector<double>& values) {
    return NamedTensor{name,
                       {DType::f64, {int64_t(values.size())}, std::as_bytes(std::span(values))}};
  };
  write_safetensors(file, {{named("chosen", scores.chosen), named("rejected", scores.rejected)}});
}

ReferenceScores read(const Path& file, size_t rows) {
  const Safetensors stored(file);
  const auto values = [&](const char* name) {
    const auto it = stored.tensors().find(name);
    std::vector<double> numbers(rows);
    if (it == stored.tensors().end() || it->second.data.size() != rows * sizeof(double))
      throw Error("train", file.string() + ": " + name, std::to_string(rows) + " numbers (F64)",
                  "something else");
    std::memcpy(numbers.data(), it->second.data.data(), it->second.data.size());
    return numbers;
  };
  return {values("chosen"), values("rejected")};
}

}  // namespace

std::string reference_digest(const Recipe& recipe) {
  const Reference reference = reference_of(recipe);
  const Checkpoint checkpoint = Checkpoint::open(reference.directory);
  return digest_of_weights(checkpoint.files(),
                           with_settings(checkpoint.config(), reference.settings)) +
         (reference.base ? recipe_keys(recipe).at("quantize").value : "");
}

void add_reference(const Recipe& recipe, Preparation& p, const Tell& tell) {
  const Reference reference = reference_of(recipe);
  const std::string model_digest = p.run.state.run.at("reference");
  std::optional<TorchModel> model;  // opened where something is to be computed
  const auto fill = [&](TrainingSet& set, BatchOptions options) {
    options.questions_per_picture = std::numeric_limits<int>::max();
    const std::string stem = set.recipe.path.string() + ".reference-" +
                             key_of(model_digest, p.tokenizer_texts, set, options, recipe.bf16);
    const Path file = stem + ".safetensors", part = stem + ".part";
    if (fs::exists(file)) {
      set.reference = read(file, set.rows.size());
      return;
    }
    tell("computing what the reference model says of " + set.recipe.path.string());
    if (!model) {
      model = load_to_train(reference.directory, reference.settings, reference.base);
      move_to(*model, device_of(recipe.device));
    }
    ReferenceScores scores =
        fs::exists(part) ? read(part, set.rows.size()) : nothing_known(set.rows.size());
    const BatchMaker maker{model->config, *p.tokenizer, *p.rule, tile_rule(model->config), options};
    compute(*model, maker, set, recipe.bf16, scores, [&] { save(part, scores); });
    set.reference = std::move(scores);
    save(file, set.reference);
    fs::remove(part);
  };
  for (TrainingSet& set : p.data.sets) fill(set, batch_options(recipe));
  for (TrainingSet& set : p.eval_data.sets) fill(set, evaluation_options(recipe));
}

}  // namespace revenant
