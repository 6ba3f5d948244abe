// A Hugging Face checkpoint directory: config.json and one model.safetensors, or shards with
// their model.safetensors.index.json. Reading maps the files and copies nothing.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "io/safetensors.h"

namespace revenant {

class Checkpoint {
 public:
  static Checkpoint open(const Path& directory);  // throws Error that names file and tensor
  const Path& path() const { return path_; }
  const nlohmann::json& config() const { return config_; }
  const Tensors& tensors() const { return tensors_; }       // of all files
  const TensorView& tensor(const std::string& name) const;  // throws Error if absent
  const Path& file_of(const std::string& name) const;       // throws Error if absent
  std::vector<Path> files() const;
  const Metadata& metadata() const { return files_.front().metadata(); }

 private:
  size_t place_of(const std::string& name) const;
  void add(Safetensors file);
  void add_shards(const Path& index);

  Path path_;
  nlohmann::json config_;
  std::vector<Safetensors> files_;  // at least one
  Tensors tensors_;
  std::map<std::string, size_t> places_;  // tensor -> index into files_
};

// SHA-256 of `config` (the model's, perhaps with settings over it) and the weights' files:
// what else is kept beside a model, or of it, is known by this. Reads all of them.
std::string digest_of_weights(std::span<const Path> files, const nlohmann::json& config);

constexpr uint64_t default_shard_bytes = 5'000'000'000;  // Hugging Face's "5GB"

// Writes the same layout into `directory`, which is made if need be; its other files stay. Every
// file is complete under a temporary name before the first is renamed, the index comes last, and
// weights of an older save go away: a crash leaves the old checkpoint, the new one, or one that
// `open` refuses. Checks the free space first.
void write_checkpoint(const Path& directory, const nlohmann::json& config,
                      std::span<const TensorSource> tensors,
                      uint64_t max_shard_bytes = default_shard_bytes,
                      const Metadata& metadata = {{"format", "pt"}});

}  // namespace revenant
