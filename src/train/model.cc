#include "train/model.h"

#include <algorithm>

#include "base/dtype.h"
#include "base/error.h"
#include "io/gate_file.h"
#include "model/check.h"
#include "train/fresh.h"

namespace revenant {
namespace {

torch::Tensor to_torch(const TensorView& view, torch::Dtype dtype) {
  const std::vector<float> values = to_floats(view);
  return torch::tensor(values).view(view.shape).to(dtype);
}

}  // namespace

TorchModel load_torch_model(const Path& directory, const std::vector<std::string>& settings,
                            torch::Dtype dtype) {
  const Checkpoint checkpoint = Checkpoint::open(directory);
  TorchModel model;
  model.config_json = with_settings(checkpoint.config(), settings);
  model.config = parse_config(model.config_json, (directory / "config.json").string());
  Tensors tensors = checkpoint.tensors();
  std::optional<GateFile> gate;
  if (model.config.trol.on && !tensors.contains(stored_name(model.config, "trol_gate.weight")))
    gate = read_gate_file(directory);
  if (gate) {
    if (gate->weight) tensors[stored_name(model.config, "trol_gate.weight")] = gate->weight->view();
    if (gate->bias) tensors[stored_name(model.config, "trol_gate.bias")] = gate->bias->view();
    if (!gate->warning.empty()) model.warnings.push_back(gate->warning);
  }
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto& [name, view] : tensors) shapes[name] = view.shape;
  const std::vector<std::string> unused =
      check_stored(model.config, shapes, [&](const std::string& name) {
        return checkpoint.tensors().contains(name) ? checkpoint.file_of(name).string()
                                                   : directory.string();
      });
  for (const auto& [name, view] : tensors)
    if (std::ranges::count(unused, name))
      model.kept[name] = {view.dtype, view.shape, {view.data.begin(), view.data.end()}};
    else
      model.parameters[name] = to_torch(view, dtype).requires_grad_();
  return model;
}

TorchModel init_torch_model(const nlohmann::json& config_json, uint64_t seed) {
  TorchModel model;
  model.config_json = config_json;
  model.config = parse_config(config_json, "config");
  Random random(seed);
  for (const TensorSpec& spec : tensor_table(model.config))
    if (!model.parameters.contains(spec.stored))
      model.parameters[spec.stored] = fresh_tensor(model.config, spec, random).requires_grad_();
  return model;
}

void save_torch_model(const TorchModel& model, const Path& directory, DType dtype) {
  std::vector<TensorSource> sources;
  for (const auto& [name, parameter] : model.parameters) {
    const std::vector<int64_t> shape(parameter.sizes().begin(), parameter.sizes().end());
    sources.push_back({name, dtype, shape, [&value = parameter, dtype](const Sink& sink) {
                         const auto type =
                             dtype == DType::bf16 ? torch::kBFloat16 : torch::kFloat32;
                         const torch::Tensor t = value.detach().to(type).contiguous();
                         sink({static_cast<const std::byte*>(t.data_ptr()), t.nbytes()});
                       }});
  }
  for (const auto& [name, tensor] : model.kept) sources.push_back(source_of({name, tensor.view()}));
  write_checkpoint(directory, model.config_json, sources);
}

}  // namespace revenant
