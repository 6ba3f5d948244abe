// Low-rank adapters in PEFT's layout: adapter_config.json and adapter_model.safetensors. Where an
// adapter is, y = W x becomes y = W x + scale B (A x) (LoRA, Hu et al. 2021, arXiv 2106.09685);
// what was trained whole stands in the same file under its own name.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "io/safetensors.h"
#include "model/weights.h"

namespace revenant {

struct AdapterSettings {
  int rank = 0;
  double alpha = 0, dropout = 0;  // scale is alpha / rank
};

// Beside one stored tensor [out, in].
struct StoredAdapter {
  TensorView a, b;  // [rank, in], [out, rank]
  double scale = 1;
};

// A value; the views live as long as a copy does.
class AdapterFiles {
 public:
  // Throws Error that names file and key or tensor: also for what PEFT knows and we do not (DoRA,
  // adapters of embeddings, starts that change the base).
  static AdapterFiles open(const Path& directory);

  const Path& path() const { return path_; }
  const std::string& base() const { return base_; }  // model that it was trained on; may be empty
  const std::map<std::string, StoredAdapter>& adapters() const { return adapters_; }  // by tensor
  const Tensors& replaced() const { return replaced_; }  // trained whole, by the tensor's name

 private:
  void add(const std::string& key, const TensorView& view, const nlohmann::json& config);

  Path path_, file_;
  std::string base_;
  std::shared_ptr<Safetensors> tensors_;
  std::map<std::string, StoredAdapter> adapters_;
  Tensors replaced_;
};

// Name of a tensor in adapter_model.safetensors, from its name in the checkpoint; of A or B
// ("lora_A", "lora_B"), from that of the matrix.
std::string adapter_key(const std::string& stored);
std::string adapter_key(const std::string& matrix, const char* kind);

// adapter_config.json. `matrices` have adapters, `whole` were trained whole; names in the
// checkpoint.
nlohmann::json adapter_config(const AdapterSettings& settings,
                              const std::set<std::string>& matrices,
                              const std::set<std::string>& whole, const std::string& base);

// A and B of a matrix as specs: canonical names STEM.adapter_a and STEM.adapter_b, stored as PEFT
// does. Matrices that a checkpoint fuses have one A for all, and B is sliced as they are.
std::pair<TensorSpec, TensorSpec> adapter_specs(const TensorSpec& matrix, int64_t rank);

constexpr const char* adapter_config_name = "adapter_config.json";
constexpr const char* adapter_weights_name = "adapter_model.safetensors";

}  // namespace revenant
