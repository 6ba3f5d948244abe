#include "train/model.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/dtype.h"
#include "base/error.h"
#include "io/gate_file.h"
#include "model/check.h"
#include "train/fresh.h"

namespace revenant {
namespace {

// The rows of a stored tensor that are the weight.
torch::Tensor weight_of(const TensorSpec& spec, const TensorView& stored, torch::Dtype dtype) {
  const size_t rows = size_t(spec.shape[0]), stored_rows = size_t(spec.stored_shape[0]);
  if (spec.whole()) return torch::tensor(to_floats(stored)).view(spec.shape).to(dtype);
  const size_t width = stored.data.size() / stored_rows;
  std::vector<std::byte> bytes(rows * width);
  for (size_t r = 0; r < rows; ++r)
    std::memcpy(&bytes[r * width], &stored.data[size_t(spec.rows(int64_t(r))) * width], width);
  return torch::tensor(to_floats({stored.dtype, spec.shape, bytes})).view(spec.shape).to(dtype);
}

}  // namespace

TensorSpecs unique_tensors(const Config& config) {
  TensorSpecs specs;
  for (const TensorSpec& spec : tensor_table(config)) specs.emplace(spec.name, spec);
  return specs;
}

torch::Dtype TorchModel::dtype() const {
  torch::Dtype widest = torch::kBFloat16;
  for (const auto& [name, parameter] : parameters)
    widest = torch::promote_types(widest, parameter.scalar_type());
  return widest;
}

namespace {

// Adds TroL's one gate from its own file, if it stands there; returns what holds it.
std::optional<GateFile> add_gate(const Checkpoint& checkpoint, const Config& config,
                                 Tensors& tensors, std::vector<std::string>& warnings) {
  const std::string stem = stored_gate(config);
  if (stem.empty()) return {};
  std::optional<GateFile> gate = gate_beside(checkpoint, stem);
  if (!gate) return {};
  tensors.merge(gate->tensors(stem));
  if (!gate->warning.empty()) warnings.push_back(gate->warning);
  return gate;
}

// What `config` wants in every layer and a checkpoint of the configuration `before` has once is
// put under every layer's name. `eta` outlives the tensors.
void spread(const Config& before, const Config& config, const std::array<float, 1>& eta,
            Tensors& tensors, std::vector<std::string>& warnings) {
  const std::string gate = stored_gate(before);
  const auto each_layer = [&](const std::string& name, const TensorView& value) {
    for (int layer = 0; layer < config.layers; ++layer)
      tensors[stored_name(config, "blk." + std::to_string(layer) + name)] = value;
  };
  if (config.trol.gate_per_layer && tensors.contains(gate + ".weight")) {
    for (const std::string part : {".weight", ".bias"})
      if (const auto it = tensors.find(gate + part); it != tensors.end())
        each_layer(".trol_gate" + part, TensorView(it->second));
    warnings.push_back("the gate of every layer begins as the one that the checkpoint has for all");
  }
  if (config.phantom.eta_learnable && !before.phantom.eta_learnable) {
    each_layer(".phantom_eta", {DType::f32, {1}, std::as_bytes(std::span(eta))});
    warnings.push_back("the eta of every layer begins as the checkpoint's constant");
  }
}

TorchModel loaded(const Path& directory, const std::vector<std::string>& settings,
                  torch::Dtype dtype, bool spreads) {
  const Checkpoint checkpoint = Checkpoint::open(directory);
  const std::string file = (directory / "config.json").string();
  TorchModel model;
  model.config_json = with_settings(checkpoint.config(), settings);
  model.config = parse_config(model.config_json, file);
  model.specs = unique_tensors(model.config);
  model.warnings = model.config.warnings;
  Tensors tensors = checkpoint.tensors();
  const Config stored_as = spreads ? parse_config(checkpoint.config(), file) : model.config;
  const auto gate = add_gate(checkpoint, stored_as, tensors, model.warnings);
  const std::array eta = {float(model.config.phantom.eta)};
  if (spreads) spread(stored_as, model.config, eta, tensors, model.warnings);
  std::map<std::string, Stored> stored;
  for (const auto& [name, view] : tensors) stored[name] = {view.shape, view.dtype, view.data};
  const std::vector<std::string> unused =
      check_stored(model.config, stored, [&](const std::string& name) {
        return checkpoint.tensors().contains(name) ? checkpoint.file_of(name).string()
                                                   : directory.string();
      });
  for (const auto& [name, spec] : model.specs)
    model.parameters[name] = weight_of(spec, tensors.at(spec.stored), dtype).requires_grad_();
  for (const std::string& name : unused) {
    const TensorView& view = tensors.at(name);
    model.kept[name] = {view.dtype, view.shape, {view.data.begin(), view.data.end()}};
  }
  return model;
}

}  // namespace

TorchModel load_torch_model(const Path& directory, const std::vector<std::string>& settings,
                            torch::Dtype dtype) {
  return loaded(directory, settings, dtype, false);
}

TorchModel load_to_train(const Path& directory, const std::vector<std::string>& settings) {
  return loaded(directory, settings, torch::kFloat32, true);
}

TorchModel init_torch_model(const nlohmann::json& config_json, uint64_t seed) {
  TorchModel model;
  model.config_json = config_json;
  model.config = parse_config(config_json, "config");
  model.specs = unique_tensors(model.config);
  Random random(seed);
  NamedTensors stored;
  for (const TensorSpec& spec : tensor_table(model.config)) {
    if (!stored.contains(spec.stored))
      stored[spec.stored] = fresh_tensor(model.config, spec, random);
    if (!model.parameters.contains(spec.name))
      model.parameters[spec.name] =
          slice_of(spec, stored[spec.stored]).reshape(spec.shape).clone().requires_grad_();
  }
  return model;
}

NamedTensors as_stored(const TorchModel& model, const NamedTensors& tensors) {
  NamedTensors stored;
  std::map<std::string, int64_t> filled;
  const torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : tensors) {
    const TensorSpec& spec = model.specs.at(name);
    filled[spec.stored] += tensor.numel();
    if (spec.whole()) {
      stored[spec.stored] = tensor.detach().view(spec.stored_shape);
      continue;
    }
    torch::Tensor& fused = stored[spec.stored];  // some of its weights may be kept in bf16
    const auto wide = torch::promote_types(tensor.scalar_type(), torch::kFloat32);
    if (!fused.defined()) fused = torch::empty(spec.stored_shape, tensor.options().dtype(wide));
    torch::Tensor slice = slice_of(spec, fused);
    slice.copy_(tensor.detach().view(slice.sizes()));
  }
  for (const auto& [name, count] : filled)
    if (count != stored[name].numel()) stored.erase(name);
  return stored;
}

void save_torch_model(const TorchModel& model, const Path& directory, DType dtype) {
  std::vector<TensorSource> sources;
  const NamedTensors stored = as_stored(model, model.parameters);
  for (const auto& [name, parameter] : stored) {
    const std::vector<int64_t> shape(parameter.sizes().begin(), parameter.sizes().end());
    sources.push_back({name, dtype, shape, [&value = parameter, dtype](const Sink& sink) {
                         const auto type =
                             dtype == DType::bf16 ? torch::kBFloat16 : torch::kFloat32;
                         const torch::Tensor t = value.to(type).contiguous();
                         sink({static_cast<const std::byte*>(t.data_ptr()), t.nbytes()});
                       }});
  }
  for (const auto& [name, tensor] : model.kept) sources.push_back(source_of({name, tensor.view()}));
  write_checkpoint(directory, model.config_json, sources);
}

}  // namespace revenant
