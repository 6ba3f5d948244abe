#include "train/reference.h"

#include <climits>
#include <cmath>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/sha256.h"
#include "io/safetensors.h"
#include "train/gradients.h"

namespace revenant {
namespace {

std::string digest_of_model(const Path& directory) {
  Sha256 digest;
  const Checkpoint checkpoint = Checkpoint::open(directory);
  digest.add(checkpoint.config().dump());
  for (const Path& file : checkpoint.files()) digest.add(sha256_of_file(file));
  return digest.digits();
}

std::string key_of(const std::string& model, const TrainingSet& set, const BatchOptions& options,
                   bool bf16) {
  Sha256 digest;
  digest.add(model).add(sha256_of_file(set.recipe.path));
  for (const Row& row : set.rows)
    for (const Path& image : row.images)
      digest.add(std::to_string(std::filesystem::file_size(image)) + " ");
  digest.add(std::to_string(options.count_end_token) + std::to_string(options.as_inferred) +
             std::to_string(options.max_length) + std::to_string(bf16) +
             std::to_string(int(options.exif)));
  return digest.digits().substr(0, 24);
}

ReferenceScores computed(const TorchModel& model, const BatchMaker& maker, const TrainingSet& set,
                         bool bf16) {
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  ReferenceScores scores{std::vector<double>(set.rows.size(), none),
                         std::vector<double>(set.rows.size(), none)};
  const torch::NoGradGuard no_grad;
  for (size_t row = 0; row < set.rows.size(); ++row) {
    const Pick pick{&set, {row, row + 1}, 0};
    const TorchBatch batch = maker.make({&pick, 1});
    if (batch.pairs.empty()) continue;
    const Autocast autocast(bf16);
    const torch::Tensor sums = score_answers(model, batch).sums;
    scores.chosen[row] = sums[batch.pairs[0].chosen].item<double>();
    scores.rejected[row] = sums[batch.pairs[0].rejected].item<double>();
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
                   const std::function<void(const std::string&)>& tell, TrainingData& data) {
  const Path directory = recipe.reference.empty() ? recipe.model : recipe.reference;
  const std::string model_digest = digest_of_model(directory);
  BatchOptions options = batch_options(recipe);
  options.questions_per_picture = 1;
  std::optional<TorchModel> model;  // opened where something is to be computed
  for (TrainingSet& set : data.sets) {
    const std::string key = key_of(model_digest, set, options, recipe.bf16);
    const Path file = set.recipe.path.string() + ".reference-" + key + ".safetensors";
    if (std::filesystem::exists(file)) {
      set.reference = read(file, set.rows.size());
      continue;
    }
    tell("computing what the reference model says of " + set.recipe.path.string());
    if (!model) model = load_torch_model(directory);
    const BatchMaker maker{model->config, tokenizer, rule, tile_rule(model->config), options};
    set.reference = computed(*model, maker, set, recipe.bf16);
    save(file, set.reference);
  }
}

}  // namespace revenant
