// The one place where the forward text is instantiated for torch.
#include "model/decoder.h"
#include "model/tower.h"
#include "train/device.h"
#include "train/model.h"

namespace revenant {

torch::Tensor slice_of(const TensorSpec& spec, const torch::Tensor& stored) {
  if (spec.whole()) return stored.view(spec.shape);
  if (spec.rows.stride == 0) return stored.narrow(0, spec.rows.offset, spec.rows.block);
  std::vector<int64_t> shape = {-1, spec.rows.stride};
  for (int64_t i = 1; i < stored.dim(); ++i) shape.push_back(stored.size(i));
  return stored.view(shape).narrow(1, spec.rows.offset, spec.rows.block);
}

Weights<TorchWeight> TorchModel::weights() const {
  return bind<TorchWeight>(config, [&](const TensorSpec& spec) {
    TorchWeight weight;
    if (const auto it = quantized.find(spec.name); it != quantized.end())
      weight.quantized = it->second;
    else
      weight.tensor = parameters.at(spec.name);
    weight.in_float32 = part_of(spec) == Part::mechanism;
    if (const auto it = adapters.of.find(spec.name); it != adapters.of.end()) {
      weight.a = parameters.at(it->second.first);
      weight.b = parameters.at(it->second.second);
      weight.scale = adapters.scale();
      weight.dropout = adapters.settings.dropout;
    }
    return weight;
  });
}

torch::Tensor see(const TorchModel& model, const torch::Tensor& pixels, const TorchNote* note,
                  uint64_t dropout_seed) {
  TorchExecutor e(model.config, nullptr, note, dropout_seed, model.recompute);
  const Weights<TorchWeight> w = model.weights();
  const int tiles = int(pixels.size(0)), side = int(pixels.size(2));
  if (!model.tower_cache) return see(e, model.config, w, pixels, tiles, side);
  std::vector<torch::Tensor> outputs;
  for (const torch::Tensor& tile : pixels.unbind())
    outputs.push_back(model.tower_cache->of(tile, [&](const torch::Tensor& one) {
      const torch::NoGradGuard no_grad;
      return tower(e, model.config, w.tower, one.unsqueeze(0), 1, side);
    }));
  return project(e, model.config, w.projector, torch::cat(outputs), tiles, side);
}

torch::Tensor forward(const TorchModel& model, const Step& step, const std::vector<int64_t>& ids,
                      const torch::Tensor& features, const torch::Tensor& rows,
                      const TorchNote* note, uint64_t dropout_seed) {
  const auto torch_rows =
      std::make_shared<const TorchRows>(model.config, step, model.options(), rows);
  TorchExecutor e(model.config, torch_rows, note, dropout_seed, model.recompute);
  const Weights<TorchWeight> w = model.weights();
  const torch::Tensor* pictures = features.defined() ? &features : nullptr;
  const torch::Tensor x = embed_prompt(e, w, indices(ids, model.device()), pictures, step);
  e.note({}, Note::inputs_embeds, x);
  const torch::Tensor y = e.note({}, Note::final_norm, decode(e, model.config, w, x, step));
  return e.linear(w.output, y);
}

namespace {

// The rows that say something, the token each should give, and the span it stands in. Filled up to
// few numbers of rows that differ: torch compiles a product anew for every one.
struct Targets {
  torch::Tensor rows, tokens, spans;  // [n]; tokens of -100 count for nothing
  std::vector<int64_t> counts;        // [spans]
};

Targets targets_of(const TorchBatch& batch, torch::Device device) {
  constexpr size_t kFew = 64;
  std::vector<int64_t> rows, tokens, spans;
  Targets targets;
  for (const Span& span : batch.step.spans) {
    const size_t before = rows.size();
    for (int r = span.first_row; r < span.first_row + span.rows; ++r)
      if (batch.labels[size_t(r)] >= 0) {
        rows.push_back(r);
        tokens.push_back(batch.labels[size_t(r)]);
      }
    spans.resize(rows.size(), int64_t(targets.counts.size()));
    targets.counts.push_back(int64_t(rows.size() - before));
  }
  const size_t filled = (rows.size() + kFew - 1) / kFew * kFew;
  rows.resize(filled, 0);
  tokens.resize(filled, -100);
  spans.resize(filled, 0);
  targets.rows = indices(rows, device);
  targets.tokens = indices(tokens, device);
  targets.spans = indices(spans, device);
  return targets;
}

torch::Tensor features_of(const TorchModel& model, const TorchBatch& batch, const TorchNote* note) {
  if (!batch.pixels.defined() || batch.pixels.size(0) == 0) return {};
  const torch::Tensor features =
      see(model, batch.pixels.to(model.device()), note, batch.dropout_seed);
  if (batch.tile_of_slot.empty()) return features;
  return features.view({batch.pixels.size(0), -1, features.size(1)})
      .index_select(0, indices(batch.tile_of_slot, model.device()))
      .reshape({-1, features.size(1)});
}

// The rows that traverse in sequences that answer, of all that are filled up: [R, 1].
torch::Tensor traversing_rows(const TrolConfig& trol, const TorchBatch& batch,
                              const std::vector<int64_t>& answers) {
  const std::vector<Span>& spans = batch.step.spans;
  std::vector<bool> answered(spans.size());
  std::vector<float> rows(size_t(batch.step.rows), 0.0f);
  for (size_t s = spans.size(); s-- > 0;) {  // parents stand before their branches
    if (answers[s] > 0) answered[s] = true;
    if (!answered[s]) continue;
    if (spans[s].parent >= 0) answered[size_t(spans[s].parent)] = true;
    for (int i = 0; i < spans[s].rows; ++i)
      rows[size_t(spans[s].first_row + i)] = traverses(trol, spans[s], i);
  }
  return torch::tensor(rows).view({-1, 1});
}

torch::Tensor mean_gate(const std::vector<torch::Tensor>& gates, const TrolConfig& trol,
                        const TorchBatch& batch, const std::vector<int64_t>& answers) {
  if (gates.empty()) return {};
  const torch::Tensor rows = traversing_rows(trol, batch, answers);
  const double count = double(gates.size()) * rows.sum().item<double>();
  if (count == 0) return {};
  const torch::Tensor there = rows.to(gates[0].device());
  torch::Tensor sum = torch::zeros({}, there.options());
  for (const torch::Tensor& gate : gates) sum = sum + (gate * there).sum();  // in float32 or wider
  return sum / count;
}

}  // namespace

AnswerScores score_answers(const TorchModel& model, const TorchBatch& batch,
                           const TorchNote* note) {
  const Targets targets = targets_of(batch, model.device());
  const torch::Tensor features = features_of(model, batch, note);
  // The tower's draws are even steps of its seed, the language model's odd ones.
  const uint64_t seed = batch.dropout_seed == 0 ? 0 : batch.dropout_seed + 1;
  std::vector<torch::Tensor> gates;
  const TorchNote watched = [&](Site site, Note name, const torch::Tensor& x) {
    if (name == Note::trol_gate) gates.push_back(x);
    if (note) (*note)(site, name, x);
  };
  const torch::Tensor logits =
      forward(model, batch.step, batch.ids, features, targets.rows, &watched, seed);
  const torch::Tensor wide = logits.to(torch::promote_types(logits.scalar_type(), torch::kFloat32));
  const torch::Tensor losses =
      torch::cross_entropy_loss(wide, targets.tokens, {}, at::Reduction::None);
  const torch::Tensor none = torch::zeros({int64_t(targets.counts.size())}, losses.options());
  return {none.index_add(0, targets.spans, losses.neg()), targets.counts,
          mean_gate(gates, model.config.trol, batch, targets.counts)};
}

}  // namespace revenant
