// A model whose parameters are torch tensors, stored under the checkpoint's own names, so that
// gradients, optimiser state and saved files all speak of the same things.
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
#include "train/executor.h"

namespace revenant {

struct TorchModel {
  Config config;
  nlohmann::json config_json;
  std::map<std::string, torch::Tensor> parameters;  // by stored name, leaves
  std::map<std::string, TorchTensor> kept;          // known unused tensors, written back untouched
  std::vector<std::string> warnings;                // of loading

  torch::Dtype dtype() const { return parameters.begin()->second.scalar_type(); }
  Weights<torch::Tensor> weights() const;  // views of the parameters
};

// The part of a stored tensor that is the weight: a view, [..., block, columns] where its rows are
// interleaved with others', else of the weight's shape.
torch::Tensor slice_of(const TensorSpec& spec, const torch::Tensor& stored);

// Every tensor used exactly once, as the native loader demands. Throws Error.
TorchModel load_torch_model(const Path& directory, const std::vector<std::string>& settings = {},
                            torch::Dtype dtype = torch::kFloat32);
// Fresh weights from a seed, see train/fresh.h.
TorchModel init_torch_model(const nlohmann::json& config_json, uint64_t seed);

// Writes config.json and model.safetensors in `dtype` into an existing directory.
void save_torch_model(const TorchModel& model, const Path& directory, DType dtype);

// Rows of one forward. Sequences are packed ragged; `pixels` belong to the picture rows in order.
struct TorchBatch {
  Step step;
  std::vector<int64_t> ids;           // [R]
  std::vector<int64_t> labels;        // [R] the token that should follow, or -100
  torch::Tensor pixels;               // [T, 3, S, S], each picture's tiles once
  size_t pictures = 0;                // what the tiles were cut from
  std::vector<int64_t> tile_of_slot;  // which tile fills each run of picture rows; empty: in order
};

// [T * tokens, hidden]
torch::Tensor see(const TorchModel& model, const torch::Tensor& pixels,
                  const TorchNote* note = nullptr);
// Logits [n, vocab] of the named rows (all rows if `rows` is undefined).
torch::Tensor forward(const TorchModel& model, const Step& step, const std::vector<int64_t>& ids,
                      const torch::Tensor& features, const torch::Tensor& rows = {},
                      const TorchNote* note = nullptr);
// Mean next-token cross entropy over the labelled rows.
torch::Tensor sft_loss(const TorchModel& model, const TorchBatch& batch);

}  // namespace revenant
