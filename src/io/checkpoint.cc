#include "io/checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/shape.h"

namespace revenant {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const char* const single_name = "model.safetensors";
const char* const index_name = "model.safetensors.index.json";

// tensor -> shard. Names come from a stranger: a plain file name, no way out of the directory.
std::map<std::string, std::string> read_weight_map(const Path& index) {
  const json content = read_json(index);
  if (!content.is_object() || !content.contains("weight_map") ||
      !content["weight_map"].is_object() || content["weight_map"].empty()) {
    throw Error("checkpoint", index.string(), "an object with a weight_map", "none");
  }
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : content["weight_map"].items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    const bool plain = name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
    if (!plain || !name.ends_with(".safetensors")) {
      throw Error("checkpoint", index.string() + ": " + tensor,
                  "the plain name of a .safetensors file",
                  shard.dump(-1, ' ', true, json::error_handler_t::replace));
    }
    shards[tensor] = name;
  }
  return shards;
}

// Both ways: all that the index promises is there, and nothing else.
void check_shard(const Safetensors& file, const std::map<std::string, std::string>& shards) {
  const std::string name = file.path().filename().string();
  for (const auto& [tensor, shard] : shards) {
    if (shard == name && !file.tensors().contains(tensor)) {
      throw Error("checkpoint", file.path().string() + ": " + tensor,
                  "the tensor that the index puts here", "none");
    }
  }
  for (const auto& [tensor, view] : file.tensors()) {
    const auto listed = shards.find(tensor);
    if (listed == shards.end() || listed->second != name) {
      throw Error("checkpoint", file.path().string() + ": " + tensor, "that the index puts it here",
                  listed == shards.end() ? "no line for it" : listed->second);
    }
  }
}

using Shards = std::vector<std::vector<TensorSource>>;

uint64_t size_of(const TensorSource& tensor) {
  const auto bytes = byte_count(tensor.dtype, tensor.shape);
  if (!bytes) throw Error("checkpoint", tensor.name, "a size below 2^64", shape_text(tensor.shape));
  return *bytes;
}

// In the order given; a tensor above the limit gets a file of its own.
Shards split(std::span<const TensorSource> tensors, uint64_t max_bytes) {
  Shards shards(1);
  uint64_t filled = 0;
  for (const auto& tensor : tensors) {
    const uint64_t bytes = size_of(tensor);
    if (!shards.back().empty() && bytes > max_bytes - std::min(filled, max_bytes)) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(tensor);
    filled += bytes;
  }
  return shards;
}

std::string shard_name(size_t i, size_t count) {
  if (count == 1) return single_name;
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, count);
  return name;
}

// "model.safetensors" or "model-00001-of-00002.safetensors".
bool is_weight_file(const std::string& name) {
  std::string shape = name;
  for (char& c : shape) c = c >= '0' && c <= '9' ? '0' : c;
  return name == single_name || shape == "model-00000-of-00000.safetensors";
}

json make_index(const Shards& shards) {
  uint64_t total = 0;
  json weight_map = json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const auto& tensor : shards[i]) {
      total += size_of(tensor);
      if (weight_map.contains(tensor.name)) {
        throw Error("checkpoint", tensor.name, "unique names", "it twice");
      }
      weight_map[tensor.name] = shard_name(i, shards.size());
    }
  }
  return {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
}

void check_space(const Path& directory, uint64_t bytes) {
  Path place = fs::absolute(directory);
  while (!fs::exists(place) && place.has_relative_path()) place = place.parent_path();
  const uint64_t available = fs::space(place).available;
  if (available < bytes) {
    throw Error("checkpoint", directory.string(), std::to_string(bytes) + " bytes of free space",
                std::to_string(available));
  }
}

// A complete file under its temporary name.
struct Staged {
  Path path;
  std::unique_ptr<AtomicFile> file;
  explicit Staged(const Path& p) : path(p), file(std::make_unique<AtomicFile>(p)) {}
};

Staged stage(const Path& path, const json& content) {
  Staged staged(path);
  staged.file->write(content.dump(2) + "\n");
  return staged;
}

void remove_stale(const Path& directory, size_t shards) {
  std::vector<Path> stale;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    bool current = false;
    for (size_t i = 0; i < shards; ++i) current = current || name == shard_name(i, shards);
    if (is_weight_file(name) && !current) stale.push_back(entry.path());
  }
  for (const auto& path : stale) fs::remove(path);
}

}  // namespace

Checkpoint Checkpoint::open(const Path& directory) {
  if (!fs::is_directory(directory)) {
    throw Error("checkpoint", directory.string(), "a checkpoint directory", "none");
  }
  Checkpoint checkpoint;
  checkpoint.path_ = directory;
  checkpoint.config_ = read_json(directory / "config.json");
  const Path single = directory / single_name, index = directory / index_name;
  if (fs::exists(index)) {
    checkpoint.add_shards(index);
  } else if (fs::exists(single)) {
    checkpoint.add(Safetensors(single));
  } else {
    const auto is_there = [&](const char* name) { return fs::exists(directory / name); };
    const bool pickled = is_there("pytorch_model.bin") || is_there("pytorch_model.bin.index.json");
    throw Error("checkpoint", directory.string(), std::string(single_name) + " or " + index_name,
                pickled ? "pytorch_model.bin: convert it to safetensors" : "neither");
  }
  return checkpoint;
}

void Checkpoint::add(Safetensors file) {
  for (const auto& [name, view] : file.tensors()) {
    tensors_[name] = view;
    places_[name] = files_.size();
  }
  files_.push_back(std::move(file));
}

void Checkpoint::add_shards(const Path& index) {
  const auto shards = read_weight_map(index);
  std::map<std::string, std::string> first;  // shard -> one of its tensors
  for (const auto& [tensor, shard] : shards) first.emplace(shard, tensor);
  if (fs::exists(path_ / single_name) && !first.contains(single_name)) {
    throw Error("checkpoint", path_.string(), "either one file or shards with an index",
                std::string(single_name) + " beside " + index_name + " that does not name it");
  }
  for (const auto& [shard, tensor] : first) {
    if (!fs::exists(path_ / shard)) {
      throw Error("checkpoint", (path_ / shard).string(),
                  "the shard that the index names for " + tensor, "no file");
    }
    Safetensors file(path_ / shard);
    check_shard(file, shards);
    add(std::move(file));
  }
}

size_t Checkpoint::place_of(const std::string& name) const {
  const auto place = places_.find(name);
  if (place == places_.end()) {
    throw Error("checkpoint", path_.string() + ": " + name, "a tensor", "none");
  }
  return place->second;
}

const Path& Checkpoint::file_of(const std::string& name) const {
  return files_[place_of(name)].path();
}

const TensorView& Checkpoint::tensor(const std::string& name) const {
  return files_[place_of(name)].tensors().at(name);
}

std::vector<Path> Checkpoint::files() const {
  std::vector<Path> paths;
  for (const auto& file : files_) paths.push_back(file.path());
  return paths;
}

std::string digest_of_weights(std::span<const Path> files, const json& config) {
  Sha256 digest;
  digest.add(json_text(config));
  for (const Path& file : files) digest.add(sha256_of_file(file));
  return digest.digits();
}

void write_checkpoint(const Path& directory, const json& config,
                      std::span<const TensorSource> tensors, uint64_t max_shard_bytes,
                      const Metadata& metadata) {
  const Shards shards = split(tensors, max_shard_bytes);
  const json index = make_index(shards);
  const uint64_t total = index["metadata"]["total_size"];
  check_space(directory, total + total / 100 + 1'000'000);  // and the headers
  fs::create_directories(directory);
  std::vector<Staged> staged;
  for (size_t i = 0; i < shards.size(); ++i) {
    staged.emplace_back(directory / shard_name(i, shards.size()));
    write_safetensors(*staged.back().file, staged.back().path, shards[i], metadata);
  }
  if (shards.size() > 1) staged.push_back(stage(directory / index_name, index));
  staged.push_back(stage(directory / "config.json", config));
  fs::remove(directory / "config.json");  // without it, nothing opens what is half old, half new
  fs::remove(directory / index_name);
  for (auto& file : staged) file.file->commit();
  remove_stale(directory, shards.size());
}

}  // namespace revenant
