// A model whose parameters are torch tensors under the canonical names of the tensor table, each of
// the weight's own shape: what trains, its optimiser's settings and state, and later its adapters
// speak of these. A checkpoint's fused tensors are taken apart when it is read and put together
// when one is written.
#pragma once

#include <torch/types.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "io/torch_file.h"
#include "model/config.h"
#include "model/step.h"
#include "model/weights.h"
#include "store/adapter.h"
#include "store/fused.h"
#include "store/model_files.h"
#include "store/quantized_base.h"
#include "train/executor.h"
#include "train/tower_cache.h"

namespace revenant {

using NamedTensors = std::map<std::string, torch::Tensor>;

// Which matrices have an adapter beside them.
struct Adapters {
  AdapterSettings settings;
  Path base;  // of the model whose matrices they are
  std::map<std::string, std::pair<std::string, std::string>> of;  // names of A and B
  double scale() const { return settings.alpha / settings.rank; }
};

struct TorchModel {
  Config config;
  nlohmann::json config_json;
  TensorSpecs specs;
  NamedTensors parameters;  // by canonical name; leaves, but for frozen ones
  std::map<std::string, QuantizedMatrix> quantized;  // in their places, where the base is
  std::optional<QuantizedBase> base;                 // which those are
  std::optional<ModelFiles> files;                   // that they were read from
  Adapters adapters;                                 // of LoRA, see train/adapters.h
  std::map<std::string, TorchTensor> kept;           // known unused tensors, written back untouched
  std::vector<std::string> warnings;                 // of loading
  std::shared_ptr<TowerCache> tower_cache;           // none where the tower trains
  bool recompute = false;  // a layer's values are computed again for the gradients, not kept

  torch::Dtype dtype() const;  // of what is computed: the widest of the parameters
  torch::Device device() const;
  torch::TensorOptions options() const;  // both
  Weights<TorchWeight> weights() const;
};

// The part of a stored tensor that is the weight: a view, [..., block, columns] where its rows are
// interleaved with others', else of the weight's shape.
torch::Tensor slice_of(const TensorSpec& spec, const torch::Tensor& stored);

// Tensors by canonical name, put together under the names and shapes of a checkpoint. What is
// stored in parts that are not all there is left out.
NamedTensors as_stored(const TorchModel& model, const NamedTensors& tensors);

// A directory or a GGUF file, every tensor used exactly once. Throws Error.
TorchModel load_torch_model(const Path& path, const std::vector<std::string>& settings = {},
                            torch::Dtype dtype = torch::kFloat32);
// The same to be trained further: where the settings ask for a gate or an eta in every layer and
// the checkpoint has one for all, every layer begins with that, and a warning says so. What `base`
// says is quantised as it is read.
using BaseOf = std::function<std::optional<QuantizedBase>(const Config&)>;
TorchModel load_to_train(const Path& directory, const std::vector<std::string>& settings,
                         const BaseOf& base = {});
// Parameters to where they shall be computed with. Before an optimiser knows them.
void move_to(TorchModel& model, torch::Device device);
// Fresh weights from a seed, see store/fresh.h. Each tensor's come from the seed and its name, so
// models that differ in a mechanism have the rest in common.
TorchModel init_torch_model(const nlohmann::json& config_json, uint64_t seed);
// The vision tower of another model, of the same configuration. Throws Error.
void take_tower(TorchModel& model, const Path& from);

// A tensor that is written in `dtype`, from any device; it must outlive the source.
TensorSource source_of_tensor(const std::string& name, const torch::Tensor& tensor, DType dtype);

// Writes config.json and model.safetensors in `dtype` into an existing directory.
void save_torch_model(const TorchModel& model, const Path& directory, DType dtype);

// Two answers to one question, as spans of a batch.
struct AnswerPair {
  int chosen = 0, rejected = 0;
  size_t row = 0;  // of its set
};

// The log-probabilities that a reference model gives to both answers of every pair, [pairs].
struct ReferenceScores {
  std::vector<double> chosen, rejected;
};

// Rows of one forward. Sequences are packed ragged; `pixels` belong to the picture rows in order.
struct TorchBatch {
  Step step;
  std::vector<int64_t> ids;           // [R]
  std::vector<int64_t> labels;        // [R] the token that should follow, or -100
  std::vector<AnswerPair> pairs;      // none where answers stand alone
  ReferenceScores reference;          // of the pairs, where the objective wants it
  torch::Tensor pixels;               // [T, 3, S, S], each picture's tiles once
  size_t pictures = 0;                // what the tiles were cut from
  uint64_t dropout_seed = 0;          // of adapters' dropout; 0: nothing is dropped
  std::vector<std::string> left_out;  // what could not be used, and why
  std::vector<int64_t> tile_of_slot;  // which tile fills each run of picture rows; empty: in order
};

// [T * tokens, hidden]
torch::Tensor see(const TorchModel& model, const torch::Tensor& pixels,
                  const TorchNote* note = nullptr, uint64_t dropout_seed = 0);
// Logits [n, vocab] of the named rows (all rows if `rows` is undefined). For gradients the step
// must live until then, as the model must.
torch::Tensor forward(const TorchModel& model, const Step& step, const std::vector<int64_t>& ids,
                      const torch::Tensor& features, const torch::Tensor& rows = {},
                      const TorchNote* note = nullptr, uint64_t dropout_seed = 0);

// What an objective is made of: the log-probability of each span's answer, summed over its labelled
// rows, in float32 or wider, and how many rows those are. Spans without labels have 0 of both.
struct AnswerScores {
  torch::Tensor sums;           // [spans]
  std::vector<int64_t> counts;  // [spans]
  // [] TroL's gate, its mean over layers, later passes and the rows that traverse in sequences that
  // answer; undefined where there are none
  torch::Tensor gate = {};
};
AnswerScores score_answers(const TorchModel& model, const TorchBatch& batch,
                           const TorchNote* note = nullptr);

}  // namespace revenant
