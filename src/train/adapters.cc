#include "train/adapters.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "base/random.h"
#include "train/parameters.h"

namespace revenant {
namespace {

// Matrices that an adapter can stand beside: PEFT's are of modules with two dimensions.
TensorSpecs matrices_of(const TensorSpecs& specs) {
  TensorSpecs matrices;
  for (const auto& [name, spec] : specs)
    if (spec.role == Role::linear && spec.shape.size() == 2 && spec.stored_shape.size() == 2 &&
        name.find("blk.") != name.npos)
      matrices.emplace(name, spec);
  return matrices;
}

torch::Tensor fresh_a(const std::vector<int64_t>& shape, Random& random) {
  const double limit = 1 / std::sqrt(double(shape[1]));  // PEFT's: Kaiming, a = sqrt(5)
  std::vector<float> values(size_t(TensorSpec::count(shape)));
  for (float& value : values) value = float((2 * random.uniform() - 1) * limit);
  return torch::tensor(values).view(shape);
}

// All weights that share a stored tensor with one that trains, adapters aside: a fused tensor is
// saved as a whole.
NamedTensors trained_whole(const TorchModel& model) {
  std::set<std::string> stored;
  for (const auto& [name, parameter] : trained(model))
    if (model.specs.at(name).role != Role::adapter) stored.insert(model.specs.at(name).stored);
  NamedTensors all;
  for (const auto& [name, parameter] : model.parameters)
    if (stored.contains(model.specs.at(name).stored)) all.emplace(name, parameter);
  return all;
}

NamedTensors adapters_of(const TorchModel& model) {
  NamedTensors all;
  for (const auto& [name, parameter] : model.parameters)
    if (model.specs.at(name).role == Role::adapter) all.emplace(name, parameter);
  return all;
}

}  // namespace

void check_adapters(const Recipe& recipe, const TensorSpecs& specs) {
  if (!recipe.lora.on()) return;
  const std::set<std::string> beside =
      selected(matrices_of(specs), recipe.lora.match, "lora: match");
  for (const std::string& name : selected(specs, recipe.trainable, "trainable"))
    if (beside.contains(name))
      throw Error("recipe", "trainable", "no matrix that lora has an adapter beside", name);
}

void add_adapters(TorchModel& model, const Recipe& recipe) {
  model.adapters.settings = recipe.lora.settings;
  model.adapters.base = recipe.model;
  const TensorSpecs matrices = matrices_of(model.specs);
  const std::set<std::string> names = selected(matrices, recipe.lora.match, "lora: match");
  std::set<std::string> stored;
  for (const std::string& name : names) stored.insert(matrices.at(name).stored);
  Random random(recipe.seed);
  const auto add = [&](const TensorSpec& spec, const torch::Tensor& value, bool trains) {
    model.specs.emplace(spec.name, spec);
    model.parameters[spec.name] = value.requires_grad_(trains);
  };
  for (const auto& [name, matrix] : matrices) {
    if (!stored.contains(matrix.stored)) continue;
    const auto [a, b] = adapter_specs(matrix, recipe.lora.settings.rank);
    if (!model.specs.contains(a.name)) add(a, fresh_a(a.shape, random), true);
    // What is fused with a matrix that has an adapter has none, but its rows of B.
    add(b, torch::zeros(b.shape), names.contains(name));
    if (names.contains(name)) model.adapters.of[name] = {a.name, b.name};
  }
}

void save_trained(const TorchModel& model, const Path& directory, DType dtype) {
  if (model.adapters.of.empty()) return save_torch_model(model, directory, dtype);
  NamedTensors tensors = as_stored(model, adapters_of(model));
  std::set<std::string> matrices, whole;
  for (const auto& [name, pair] : model.adapters.of) matrices.insert(model.specs.at(name).stored);
  for (const auto& [name, tensor] : as_stored(model, trained_whole(model))) {
    tensors[adapter_key(name)] = tensor;
    whole.insert(name);
  }
  std::vector<TensorSource> sources;
  for (const auto& [key, tensor] : tensors) sources.push_back(source_of_tensor(key, tensor, dtype));
  const nlohmann::json config =
      adapter_config(model.adapters.settings, matrices, whole, model.adapters.base.string());
  nlohmann::json config_json = model.config_json;
  if (model.base)
    config_json["quantization_config"] = quantization_config(*model.base, model.config);
  write_file(directory / "config.json", json_text(config_json, 2) + "\n");
  write_file(directory / adapter_config_name, json_text(config, 2) + "\n");
  write_safetensors(directory / adapter_weights_name, sources);
}

void load_adapters(TorchModel& model, const Path& directory) {
  const AdapterFiles files = AdapterFiles::open(directory);
  const Path file = directory / adapter_weights_name;
  std::map<std::string, std::pair<TensorView, double>> found;  // by key; a factor
  for (const auto& [name, adapter] : files.adapters()) {
    found[adapter_key(name, "lora_A")] = {adapter.a, 1};
    // Files may have another scale, which B takes along.
    found[adapter_key(name, "lora_B")] = {adapter.b, adapter.scale / model.adapters.scale()};
  }
  for (const auto& [name, view] : files.replaced()) found[adapter_key(name)] = {view, 1};
  NamedTensors all = adapters_of(model);
  all.merge(trained_whole(model));
  std::set<std::string> used;
  const torch::NoGradGuard no_grad;
  for (auto& [name, parameter] : all) {
    const TensorSpec& spec = model.specs.at(name);
    const std::string key = spec.role == Role::adapter ? spec.stored : adapter_key(spec.stored);
    const auto it = found.find(key);
    if (it == found.end()) throw Error("adapter", file.string() + ": " + key, "a tensor", "none");
    const auto& [view, factor] = it->second;
    if (view.shape != spec.stored_shape)
      throw Error("adapter", file.string() + ": " + key, "the shape that the recipe's gives",
                  "another");
    torch::Tensor stored = torch::tensor(to_floats(view)).view(view.shape);
    parameter.copy_((slice_of(spec, stored) * factor).reshape(parameter.sizes()));
    used.insert(key);
  }
  for (const auto& [key, value] : found)
    if (!used.contains(key))
      throw Error("adapter", file.string() + ": " + key, "only what the recipe trains", "more");
}

torch::Tensor dropout_mask(uint64_t seed, at::IntArrayRef shape, double share,
                           const torch::TensorOptions& options) {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const torch::Tensor kept = torch::empty(shape, torch::kFloat32).bernoulli_(1 - share, generator);
  return (kept / (1 - share)).to(options);
}

}  // namespace revenant
