// A model's files, wherever they lie: a Hugging Face directory, or one GGUF file (docs/gguf.md).
// Whatever opens a model, on either executor, reads it through this.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/file_set.h"
#include "io/tensor.h"
#include "model/check.h"
#include "quant/format.h"

namespace revenant {

// A weight where it lies. `data` is that of the whole stored tensor, of which the weight is the
// rows `rows`; it need not be aligned. Or, in panels, it is the weight's own (kernels/panels.h).
struct StoredWeight {
  Format format = Format::f32;
  bool in_panels = false;
  RowMap rows;
  std::span<const std::byte> data;
  bool mapped = true;        // from a file; else in memory, as long as the files are open
  bool per_channel = false;  // Q8_0 of one scale a row
};

// One row of a matrix as floats.
void unpack_row(const StoredWeight& weight, int64_t row, std::span<float> out);
// All floats of a weight of the shape that `spec` says, row after row.
std::vector<float> floats_of(const StoredWeight& weight, const TensorSpec& spec);

// What a file holds, for reports.
struct StoredTensor {
  std::string name, type;  // type: "BF16", "Q4_K", ...
  int64_t numbers = 0;
  size_t bytes = 0;
};

// What a configuration asks for in every layer and the files have once for all: an error, or the
// one in every layer, which a warning says (a model that is to be trained further).
enum class OneForAll { refused, spread };

// A value; copies share the files. What it gives points into their mappings, which live as long as
// one copy.
class ModelFiles {
 public:
  // `settings` are "key=value" over config.json. Throws Error, which names file, tensor or key,
  // expected and found, unless the files hold exactly what the tensor table says.
  static ModelFiles open(const Path& path, const std::vector<std::string>& settings = {},
                         OneForAll one_for_all = OneForAll::refused);

  const Path& path() const { return small_.origin(); }
  const Config& config() const { return config_; }
  const nlohmann::json& config_json() const { return config_json_; }  // with the settings
  const FileSet& small() const { return small_; }                     // configuration, tokenizer
  const std::vector<std::string>& warnings() const { return warnings_; }
  const std::string& layout() const { return layout_; }  // "directory", "standard" or "panels-1"

  // Throws Error where it is stored as what no weight is: integers, or a vector in blocks.
  StoredWeight weight(const TensorSpec& spec) const;
  std::vector<StoredTensor> tensors() const;  // without those of TroL's gate file
  // Those that no forward uses and a re-save keeps; they are in directories only.
  const std::vector<std::string>& unused() const { return unused_; }
  TensorView unused(const std::string& name) const;
  std::vector<Path> weight_files() const;
  std::string digest() const;  // SHA-256 of config_json and the weights' files: reads them all

 private:
  struct Parts;
  struct Entry {
    Stored stored;
    std::optional<Format> format;
    bool in_panels = false;
    std::string file;
    bool mapped = true;
    bool per_channel = false;
  };

  void open_directory(const Path& path, const std::vector<std::string>& settings,
                      OneForAll one_for_all);
  void open_gguf(const Path& path, const std::vector<std::string>& settings, OneForAll one_for_all);
  void configure(const nlohmann::json& json, const std::vector<std::string>& settings);
  void add(const std::string& name, const TensorView& view, const Path& file);
  void add_gate_file(const Config& stored_as);
  void add_tensors_of_gguf();
  void spread(const Config& stored_as);
  void check();

  std::shared_ptr<Parts> parts_;
  Naming naming_ = Naming::released;
  std::string layout_ = "directory";
  FileSet small_{Path()};
  nlohmann::json config_json_;
  Config config_;
  std::vector<std::string> warnings_, unused_;
  std::map<std::string, Entry> entries_;  // by the name that `placed` gives
};

// The small files of a model alone: those of a directory, or those in a GGUF file.
FileSet small_files_of(const Path& model);

}  // namespace revenant
