#include "train/model.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/named_seed.h"
#include "io/checkpoint.h"
#include "store/fresh.h"
#include "store/model_files.h"

namespace revenant {

torch::Dtype TorchModel::dtype() const {
  torch::Dtype widest = torch::kBFloat16;
  for (const auto& [name, parameter] : parameters)
    widest = torch::promote_types(widest, parameter.scalar_type());
  return widest;
}

torch::Device TorchModel::device() const { return parameters.begin()->second.device(); }

torch::TensorOptions TorchModel::options() const {
  return torch::TensorOptions(device()).dtype(dtype());
}

void move_to(TorchModel& model, torch::Device device) {
  for (auto& [name, parameter] : model.parameters)
    parameter = parameter.detach().to(device).requires_grad_(parameter.requires_grad());
  std::map<std::string, std::shared_ptr<const QuantizedTensor>>
      moved;  // as stored: weights share it
  for (auto& [name, matrix] : model.quantized) {
    auto& tensor = moved[model.specs.at(name).stored];
    if (!tensor) tensor = std::make_shared<const QuantizedTensor>(on(device, *matrix.stored));
    matrix.stored = tensor;
  }
}

namespace {

std::vector<float> stored_floats(const ModelFiles& files, const TensorSpecs& specs,
                                 const std::string& stored) {
  return stored_floats(specs, stored,
                       [&](const TensorSpec& spec) { return floats_of(files.weight(spec), spec); });
}

// Of a quantised base, each stored tensor once for all its weights.
std::map<std::string, QuantizedMatrix> quantized_of(const ModelFiles& files,
                                                    const TensorSpecs& specs,
                                                    const QuantizedBase& base) {
  std::map<std::string, std::shared_ptr<const QuantizedTensor>> tensors;
  std::map<std::string, QuantizedMatrix> all;
  for (const auto& [name, spec] : specs) {
    if (!base.matrices.contains(spec.stored)) continue;
    auto& tensor = tensors[spec.stored];
    if (!tensor)
      tensor = std::make_shared<const QuantizedTensor>(
          quantized(base.kind, stored_floats(files, specs, spec.stored), spec.stored_shape[0],
                    spec.stored_shape[1]));
    const RowMap map = spec.whole() ? RowMap{0, spec.shape[0], 0} : spec.rows;
    all[name] = {tensor, map, spec.shape[0]};
  }
  return all;
}

TorchModel loaded(const ModelFiles& files, torch::Dtype dtype, const BaseOf& base_of = {}) {
  TorchModel model;
  model.config_json = files.config_json();
  model.config = files.config();
  model.specs = unique_tensors(model.config);
  model.warnings = files.warnings();
  if (base_of) model.base = base_of(model.config);
  if (model.base) {
    model.files = files;
    model.quantized = quantized_of(files, model.specs, *model.base);
  }
  for (const auto& [name, spec] : model.specs) {
    const StoredWeight stored = files.weight(spec);
    if (!model.quantized.contains(name))
      model.parameters[name] =
          torch::tensor(floats_of(stored, spec)).view(spec.shape).to(dtype).requires_grad_();
    if (stored.mapped) forget_pages(stored.data.data(), stored.data.size());
  }
  for (const std::string& name : files.unused()) {
    const TensorView view = files.unused(name);
    model.kept[name] = {view.dtype, view.shape, {view.data.begin(), view.data.end()}};
  }
  return model;
}

}  // namespace

TorchModel load_torch_model(const Path& path, const std::vector<std::string>& settings,
                            torch::Dtype dtype) {
  return loaded(ModelFiles::open(path, settings), dtype);
}

TorchModel load_to_train(const Path& directory, const std::vector<std::string>& settings,
                         const BaseOf& base) {
  return loaded(ModelFiles::open(directory, settings, OneForAll::spread), torch::kFloat32, base);
}

TorchModel init_torch_model(const nlohmann::json& config_json, uint64_t seed) {
  TorchModel model;
  model.config_json = config_json;
  model.config = parse_config(config_json, "config");
  model.specs = unique_tensors(model.config);
  NamedTensors stored;
  for (const TensorSpec& spec : tensor_table(model.config)) {
    if (!stored.contains(spec.stored)) {
      Random random(named_seed(seed, spec.stored));
      stored[spec.stored] =
          torch::tensor(fresh_values(model.config, spec, random)).view(spec.stored_shape);
    }
    if (!model.parameters.contains(spec.name))
      model.parameters[spec.name] =
          slice_of(spec, stored[spec.stored]).reshape(spec.shape).clone().requires_grad_();
  }
  return model;
}

void take_tower(TorchModel& model, const Path& from) {
  const ModelFiles files = ModelFiles::open(from);
  if (files.config().vision != model.config.vision)
    throw Error("train", from.string(), "a vision tower as the config's", "another");
  for (const auto& [name, spec] : unique_tensors(files.config())) {
    if (part_of(spec) != Part::vision) continue;
    model.parameters.at(name) =
        torch::tensor(floats_of(files.weight(spec), spec)).view(spec.shape).requires_grad_();
  }
  std::ranges::copy(files.warnings(), std::back_inserter(model.warnings));
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

TensorSource source_of_tensor(const std::string& name, const torch::Tensor& tensor, DType dtype) {
  const std::vector<int64_t> shape(tensor.sizes().begin(), tensor.sizes().end());
  return {name, dtype, shape, [&tensor, dtype](const Sink& sink) {
            const auto type = dtype == DType::bf16 ? torch::kBFloat16 : torch::kFloat32;
            const torch::Tensor t = tensor.detach().to(torch::kCPU, type).contiguous();
            sink({static_cast<const std::byte*>(t.data_ptr()), t.nbytes()});
          }};
}

namespace {

TensorSource source_from_files(const TorchModel& model, const std::string& stored, DType dtype) {
  const auto spec =
      std::ranges::find(model.specs, stored, [](const auto& item) { return item.second.stored; });
  const std::vector<int64_t> shape = spec->second.stored_shape;
  return {stored, dtype, shape, [&model, stored, shape, dtype](const Sink& sink) {
            const torch::Tensor tensor =
                torch::tensor(stored_floats(*model.files, model.specs, stored)).view(shape);
            source_of_tensor(stored, tensor, dtype).produce(sink);
          }};
}

}  // namespace

void save_torch_model(const TorchModel& model, const Path& directory, DType dtype) {
  std::vector<TensorSource> sources;
  const NamedTensors stored = as_stored(model, model.parameters);
  for (const auto& [name, parameter] : stored)
    sources.push_back(source_of_tensor(name, parameter, dtype));
  if (model.base)  // quantised in memory alone
    for (const std::string& name : model.base->matrices)
      sources.push_back(source_from_files(model, name, dtype));
  for (const auto& [name, tensor] : model.kept) sources.push_back(source_of({name, tensor.view()}));
  write_checkpoint(directory, model.config_json, sources);
}

}  // namespace revenant
