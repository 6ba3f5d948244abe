#include "train/checkpoint.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"
#include "io/safetensors.h"
#include "train/adapters.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
constexpr const char* prefix = "checkpoint-";

NamedTensor named(const std::string& name, const torch::Tensor& t) {
  CHECK(t.scalar_type() == torch::kFloat32 && t.is_contiguous());
  return {name,
          {DType::f32,
           {t.sizes().begin(), t.sizes().end()},
           {static_cast<const std::byte*>(t.data_ptr()), t.nbytes()}}};
}

constexpr const char* manifest_name = "manifest.json";

void write_manifest(const Path& directory) {
  Json files = Json::object();
  for (const auto& entry : fs::directory_iterator(directory))
    files[entry.path().filename().string()] = {{"size", entry.file_size()},
                                               {"sha256", sha256_of_file(entry.path())}};
  write_file(directory / manifest_name, json_text({{"files", files}}, 2) + "\n");
}

// Of the checkpoints up to the saved one `keep` stay, and the best.
void remove_old(const Path& output_dir, const Path& saved, const Path& best, int keep) {
  const std::vector<Path> all = checkpoints_in(output_dir);
  const auto at = std::ranges::find(all, saved);
  for (auto it = at + std::min<ptrdiff_t>(keep, all.end() - at); it != all.end(); ++it)
    if (*it != best) fs::remove_all(*it);
}

// A key of trainer_state.json.
template <class T>
T value_of(const Json& json, const Path& file, const char* key) {
  try {
    return json.at(key).get<T>();
  } catch (const Json::exception& error) {
    throw Error("checkpoint", file.string() + ": " + key, json_reason(error.what()));
  }
}

}  // namespace

void save_checkpoint(const Path& output_dir, const TorchModel& model, const NamedTensors& moments,
                     const TrainerState& state, const TokenizerTexts& tokenizer, int keep) {
  const auto place_of = [&](int step) { return output_dir / (prefix + std::to_string(step)); };
  const Path place = place_of(state.global_step), temporary = place.string() + ".tmp";
  fs::remove_all(temporary);
  fs::create_directories(temporary);
  save_trained(model, temporary, DType::f32);
  write_tokenizer_texts(tokenizer, temporary);
  std::vector<NamedTensor> to_write;
  for (const auto& [name, tensor] : moments) to_write.push_back(named(name, tensor));
  write_safetensors(temporary / "optimizer.safetensors", to_write);
  Json json = {{"global_step", state.global_step},
               {"run", state.run},
               {"meter", state.meter},
               {"skipped_in_a_row", state.skipped_in_a_row},
               {"best_step", state.best_step},
               {"best_loss", state.best_loss},
               {"eval_data", state.eval_data}};
  if (state.evaluation_due) json["evaluation_due"] = true;
  write_file(temporary / "trainer_state.json", json_text(json, 2) + "\n");
  write_manifest(temporary);
  const Path replaced = place.string() + ".old";
  fs::remove_all(replaced);
  if (fs::exists(place)) fs::rename(place, replaced);
  fs::rename(temporary, place);
  sync_directory(output_dir);
  fs::remove_all(replaced);
  remove_old(output_dir, place, place_of(state.best_step), keep);
}

std::vector<Path> checkpoints_in(const Path& output_dir) {
  std::vector<std::pair<long, Path>> found;
  if (fs::exists(output_dir))
    for (const auto& entry : fs::directory_iterator(output_dir)) {
      const std::string name = entry.path().filename().string();
      const std::string number =
          name.starts_with(prefix) ? name.substr(std::string(prefix).size()) : "";
      if (!number.empty() && number.size() < 10 && std::ranges::all_of(number, ::isdigit))
        found.emplace_back(std::stol(number), entry.path());
    }
  std::sort(found.rbegin(), found.rend());
  std::vector<Path> paths;
  for (auto& [step, path] : found) paths.push_back(std::move(path));
  return paths;
}

void check_manifest(const Path& checkpoint) {
  const Path file = checkpoint / manifest_name;
  const Json json = read_json(file, "checkpoint");
  if (!json.is_object() || !json.contains("files") || !json["files"].is_object())
    throw Error("checkpoint", file.string(), "a JSON object with files", "something else");
  for (const char* name : {"config.json", "optimizer.safetensors", "trainer_state.json"})
    if (!json["files"].contains(name))
      throw Error("checkpoint", file.string(), std::string(name) + " in its list", "none");
  for (const auto& [name, entry] : json["files"].items()) {
    const Path part = checkpoint / name;
    const Json found = {{"size", MappedFile(part).bytes().size()},
                        {"sha256", sha256_of_file(part)}};
    if (found != entry)
      throw Error("checkpoint", part.string(), "what manifest.json says, " + json_text(entry),
                  json_text(found));
  }
}

TrainerState read_trainer_state(const Path& checkpoint) {
  const Path file = checkpoint / "trainer_state.json";
  const Json json = read_json(file, "checkpoint");
  return {value_of<int>(json, file, "global_step"), value_of<Json>(json, file, "run"),
          value_of<Json>(json, file, "meter"),      value_of<int>(json, file, "skipped_in_a_row"),
          value_of<int>(json, file, "best_step"),   value_of<double>(json, file, "best_loss"),
          json.value("eval_data", Json()),          json.contains("evaluation_due")};
}

void load_optimizer(const Path& checkpoint, Optimizer& optimizer) {
  const Safetensors file(checkpoint / "optimizer.safetensors");
  NamedTensors state;
  for (const auto& [name, view] : file.tensors())
    state[name] = torch::tensor(to_floats(view)).view(view.shape);
  optimizer.load(std::move(state), file.path());
}

void remove_leftovers(const Path& output_dir) {
  std::vector<Path> leftovers, replaced;
  for (const auto& entry : fs::directory_iterator(output_dir)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(".tmp")) leftovers.push_back(entry.path());
    if (name.starts_with(prefix) && name.ends_with(".old")) replaced.push_back(entry.path());
    if (name.find(".tmp.") != name.npos && entry.is_regular_file())  // AtomicFile's
      leftovers.push_back(entry.path());
  }
  for (const Path& path : leftovers) fs::remove_all(path);
  for (const Path& path : replaced) {
    const Path place = Path(path).replace_extension();
    if (fs::exists(place))
      fs::remove_all(path);
    else
      fs::rename(path, place);  // it ended between the two renames of a save
  }
}

}  // namespace revenant
