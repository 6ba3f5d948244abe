#include "train/traced.h"

#include "train/gradients.h"
#include "train/optimizer.h"

namespace revenant {
namespace {

Array to_array(const torch::Tensor& tensor) {
  const torch::Tensor t = tensor.detach().to(torch::kCPU, torch::kFloat32).contiguous();
  const float* data = t.data_ptr<float>();
  return {{t.sizes().begin(), t.sizes().end()}, {data, data + t.numel()}, {}};
}

torch::Tensor to_tensor(const Array& array, torch::TensorOptions options) {
  return torch::tensor(array.floats).view(array.shape).to(options);
}

TorchNote to_note(const ArrayNote& note) {
  return [&note](Site site, Note name, const torch::Tensor& x) { note(site, name, to_array(x)); };
}

const Objective sft = objective_of({});

TorchModel copy_of(const TorchModel& model) {
  TorchModel copy = model;
  for (auto& [name, parameter] : copy.parameters)
    parameter = parameter.detach().clone().requires_grad_();
  return copy;
}

TorchBatch batch_of(const Step& step, std::span<const int> ids, std::span<const int64_t> labels,
                    const Array* pixels, torch::TensorOptions options) {
  TorchBatch batch;
  batch.step = step;
  batch.ids.assign(ids.begin(), ids.end());
  batch.labels.assign(labels.begin(), labels.end());
  if (pixels) batch.pixels = to_tensor(*pixels, options);
  return batch;
}

// Under the names of the checkpoint.
Arrays gradients_of(const TorchModel& model, const std::string& prefix) {
  NamedTensors gradients;
  for (const auto& [name, parameter] : model.parameters)
    if (parameter.grad().defined()) gradients[name] = parameter.grad();
  Arrays out;
  for (const auto& [name, gradient] : as_stored(model, gradients))
    out[prefix + name] = to_array(gradient);
  return out;
}

}  // namespace

void TorchTraced::switch_mechanisms(bool on) {
  const Config full = parse_config(model_.config_json, "config");
  model_.config.phantom.on = on && full.phantom.on;
  model_.config.trol.on = on && full.trol.on;
}

Array TorchTraced::see(const Array& pixels, const ArrayNote& note) {
  const torch::NoGradGuard no_grad;
  const TorchNote torch_note = to_note(note);
  return to_array(revenant::see(model_, to_tensor(pixels, model_.options()), &torch_note));
}

Array TorchTraced::forward(const Step& step, std::span<const int> ids, const Array* features,
                           const ArrayNote& note) {
  const torch::NoGradGuard no_grad;
  const TorchNote torch_note = to_note(note);
  const torch::Tensor rows = features ? to_tensor(*features, model_.options()) : torch::Tensor();
  return to_array(revenant::forward(model_, step, {ids.begin(), ids.end()}, rows, {}, &torch_note));
}

void TorchTraced::trace_adamw(const TorchBatch& batch, double decay, const std::string& name,
                              Arrays& out) const {
  TorchModel model = copy_of(model_);
  std::map<std::string, ParameterSettings> all;
  for (const auto& [parameter, value] : model.parameters) all[parameter] = {1, decay, 1e-8};
  torch::optim::AdamW optimizer = make_adamw(model, all, 0.9, 0.999);
  Array losses{{4}, {}, {}};
  for (int i = 0; i < 4; ++i) {
    optimizer.zero_grad();
    const torch::Tensor loss = mean_loss(sft, model, batch);
    losses.floats.push_back(loss.item<float>());
    if (i == 3) break;
    loss.backward();
    optimizer.step();
  }
  out[name + "/losses"] = std::move(losses);
  for (const auto& [parameter, value] : as_stored(model, model.parameters))
    out[name + "/param_after/" + parameter] = to_array(value);
}

Arrays TorchTraced::train(const Step& step, std::span<const int> ids,
                          std::span<const int64_t> labels, const Array& pixels) {
  const TorchBatch batch = batch_of(step, ids, labels, &pixels, model_.options());
  TorchModel model = copy_of(model_);
  mean_loss(sft, model, batch).backward();
  Arrays out = gradients_of(model, "grad/");
  trace_adamw(batch, 0, "adamw_wd0", out);
  trace_adamw(batch, 0.01, "adamw_wd0.01", out);
  return out;
}

// Both answers as training has them: one pass of the tower, a pair.
Arrays TorchTraced::prefer(const Step& step, std::span<const int> ids,
                           std::span<const int64_t> labels, const Array* pixels) {
  TorchBatch batch = batch_of(step, ids, labels, pixels, model_.options());
  batch.pairs = {{0, 1}};
  for (size_t span = 0; span < step.spans.size(); ++span)
    for (int64_t tile = 0; pixels && tile < pixels->shape.at(0); ++tile)
      batch.tile_of_slot.push_back(tile);
  const TorchModel model = copy_of(model_);
  SideBySide threads(1);
  Arrays out;
  for (size_t j = 0; j < std::size(preference_settings); ++j) {
    const auto [beta, gamma] = preference_settings[j];
    const Objective po = objective_of({ObjectiveConfig::Kind::po, beta, gamma});
    const StepLoss loss =
        accumulate(model, po, {batch}, po.weight(batch), false, threads, no_ranks());
    const std::string at = std::to_string(j) + "/";
    const auto put = [&](const std::string& name, double value) {
      out[at + name] = {{}, {float(value)}, {}};
    };
    for (const auto& [name, value] : loss.metrics) put(name, value);
    put("loss", loss.loss);
    put("sft_term", loss.metrics.at("nll_loss"));
    put("preference_term", loss.metrics.at("preference_loss"));
    out.merge(gradients_of(model, at + "grad/"));
  }
  return out;
}

}  // namespace revenant
