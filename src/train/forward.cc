// The one place where the forward text is instantiated for torch.
#include "model/decoder.h"
#include "model/tower.h"
#include "train/model.h"

namespace revenant {

torch::Tensor slice_of(const TensorSpec& spec, const torch::Tensor& stored) {
  if (spec.whole()) return stored.view(spec.shape);
  if (spec.rows.stride == 0) return stored.narrow(0, spec.rows.offset, spec.rows.block);
  return stored.view({-1, spec.rows.stride, stored.size(1)})
      .narrow(1, spec.rows.offset, spec.rows.block);
}

Weights<torch::Tensor> TorchModel::weights() const {
  return bind<torch::Tensor>(config, [&](const TensorSpec& spec) {
    return slice_of(spec, parameters.at(spec.stored)).reshape(spec.shape);
  });
}

torch::Tensor see(const TorchModel& model, const torch::Tensor& pixels, const TorchNote* note) {
  TorchExecutor e(model.config, nullptr, note);
  return see(e, model.config, model.weights(), pixels, int(pixels.size(0)), int(pixels.size(2)));
}

torch::Tensor forward(const TorchModel& model, const Step& step, const std::vector<int64_t>& ids,
                      const torch::Tensor& features, const torch::Tensor& rows,
                      const TorchNote* note) {
  const TorchRows torch_rows(model.config, step, model.dtype());
  TorchExecutor e(model.config, &torch_rows, note);
  const Weights<torch::Tensor> w = model.weights();
  const torch::Tensor* pictures = features.defined() ? &features : nullptr;
  const torch::Tensor x = embed_prompt(e, w, torch::tensor(ids, torch::kLong), pictures, step);
  e.note({}, "inputs_embeds", x);
  const torch::Tensor y = e.note({}, "final_norm", decode(e, model.config, w, x, step));
  return e.linear(w.output, rows.defined() ? e.take(y, rows) : y);
}

torch::Tensor sft_loss(const TorchModel& model, const TorchBatch& batch) {
  std::vector<int64_t> rows, targets;
  for (size_t r = 0; r < batch.labels.size(); ++r)
    if (batch.labels[r] >= 0) {
      rows.push_back(int64_t(r));
      targets.push_back(batch.labels[r]);
    }
  constexpr size_t kFew = 64;  // numbers of targets that differ; torch leaves out those of -100
  rows.resize((rows.size() + kFew - 1) / kFew * kFew, 0);
  targets.resize(rows.size(), -100);
  torch::Tensor features;
  if (batch.pixels.defined() && batch.pixels.size(0) > 0) {
    features = see(model, batch.pixels);
    if (!batch.tile_of_slot.empty())
      features = features.view({batch.pixels.size(0), -1, features.size(1)})
                     .index_select(0, torch::tensor(batch.tile_of_slot, torch::kLong))
                     .reshape({-1, features.size(1)});
  }
  const torch::Tensor logits =
      forward(model, batch.step, batch.ids, features, torch::tensor(rows, torch::kLong));
  return torch::cross_entropy_loss(logits, torch::tensor(targets, torch::kLong));
}

}  // namespace revenant
