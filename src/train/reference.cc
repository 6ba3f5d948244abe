#include "train/reference.h"

#include <cmath>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"
#include "io/safetensors.h"
#include "train/device.h"
#include "train/parameters.h"

namespace revenant {
namespace {

std::string key_of(const std::string& model, const TrainingSet& set, const BatchOptions& options,
                   bool bf16) {
  Sha256 digest;
  digest.add(model).add(set.sha256);
  for (const auto& [ours, theirs] : set.recipe.fields) digest.add(ours + ": " + theirs + " ");
  for (const Row& row : set.rows)
    for (const Picture& picture : row.images)
      if (!picture.inside)
        digest.add(std::to_string(std::filesystem::file_size(picture.file)) + " ");
  digest.add(std::to_string(options.count_end_token) + std::to_string(options.as_inferred) +
             std::to_string(options.max_length) + std::to_string(bf16) +
             std::to_string(int(options.exif)));
  return digest.digits().substr(0, 24);
}

// Each picture is looked at once, whatever is asked about it.
ReferenceScores computed(const TorchModel& model, const BatchMaker& maker, const TrainingSet& set,
                         bool bf16) {
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  ReferenceScores scores{std::vector<double>(set.rows.size(), none),
                         std::vector<double>(set.rows.size(), none)};
  const torch::NoGradGuard no_grad;
  for (const RowGroup& group : set.groups) {
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
  return scores;
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

void add_reference(const Recipe& recipe, const PromptRule& rule, const Tokenizer& tokenizer,
                   const std::function<void(const std::string&)>& tell, TrainingData& data,
                   TrainingData& eval_data) {
  const bool own = recipe.reference.empty();  // what the run began as
  const Path directory = own ? recipe.model : recipe.reference;
  const std::vector<std::string> settings = own ? recipe.config_set : std::vector<std::string>();
  const Checkpoint checkpoint = Checkpoint::open(directory);
  const BaseOf base = own ? base_of(recipe) : BaseOf();
  const std::string model_digest =
      digest_of_weights(checkpoint.files(), with_settings(checkpoint.config(), settings)) +
      (base ? recipe_keys(recipe).at("quantize").value : "");
  std::optional<TorchModel> model;  // opened where something is to be computed
  const auto fill = [&](TrainingSet& set, BatchOptions options) {
    options.questions_per_picture = std::numeric_limits<int>::max();
    const std::string key = key_of(model_digest, set, options, recipe.bf16);
    const Path file = set.recipe.path.string() + ".reference-" + key + ".safetensors";
    if (std::filesystem::exists(file)) {
      set.reference = read(file, set.rows.size());
      return;
    }
    tell("computing what the reference model says of " + set.recipe.path.string());
    if (!model) {
      model = load_to_train(directory, settings, base);
      move_to(*model, device_of(recipe.device));
    }
    const BatchMaker maker{model->config, tokenizer, rule, tile_rule(model->config), options};
    set.reference = computed(*model, maker, set, recipe.bf16);
    save(file, set.reference);
  };
  for (TrainingSet& set : data.sets) fill(set, batch_options(recipe));
  for (TrainingSet& set : eval_data.sets) fill(set, evaluation_options(recipe));
}

}  // namespace revenant
