#include "train/checkpoint.h"

#include <algorithm>
#include <climits>
#include <filesystem>

#include "base/error.h"
#include "io/safetensors.h"
#include "text/tokenizer_files.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
constexpr const char* prefix = "checkpoint-";

NamedTensor named(const std::string& name, const torch::Tensor& t) {
  return {name,
          {DType::f32,
           {t.sizes().begin(), t.sizes().end()},
           {static_cast<const std::byte*>(t.data_ptr()), t.nbytes()}}};
}

}  // namespace

void save_checkpoint(const Path& output_dir, const TorchModel& model, const Optimizer& optimizer,
                     const TrainerState& state, const Path& tokenizer, int keep) {
  const Path place = output_dir / (prefix + std::to_string(state.global_step));
  const Path temporary = place.string() + ".tmp";
  fs::remove_all(temporary);
  fs::create_directories(temporary);
  save_torch_model(model, temporary, DType::f32);
  copy_tokenizer(tokenizer, temporary);
  std::vector<NamedTensor> moments;
  const std::map<std::string, torch::Tensor> optimizer_state = optimizer.state();
  for (const auto& [name, tensor] : optimizer_state) moments.push_back(named(name, tensor));
  write_safetensors(temporary / "optimizer.safetensors", moments);
  const nlohmann::json json = {{"global_step", state.global_step},
                               {"seed", state.seed},
                               {"tokenizer_vocab", state.tokenizer_vocab}};
  write_file(temporary / "trainer_state.json", json.dump(2) + "\n");
  const Path replaced = place.string() + ".old";
  fs::remove_all(replaced);
  if (fs::exists(place)) fs::rename(place, replaced);
  fs::rename(temporary, place);
  sync_directory(output_dir);
  fs::remove_all(replaced);
  const std::vector<Path> all = checkpoints_in(output_dir);
  const auto saved = std::ranges::find(all, place);
  for (auto it = saved + std::min<ptrdiff_t>(keep, all.end() - saved); it != all.end(); ++it)
    fs::remove_all(*it);
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

TrainerState read_trainer_state(const Path& checkpoint) {
  const Path file = checkpoint / "trainer_state.json";
  const auto json = nlohmann::json::parse(read_file(file), nullptr, false);
  const auto number = [&](const char* key, uint64_t most, bool optional = false) {
    if (optional && json.is_object() && !json.contains(key)) return uint64_t(0);
    const auto value = json.is_object() ? json.value(key, nlohmann::json()) : nlohmann::json();
    if (!value.is_number_unsigned() || value.get<uint64_t>() > most)
      throw Error("checkpoint", file.string() + ": " + key, "a number from 0 up to its type's",
                  value.dump());
    return value.get<uint64_t>();
  };
  return {int(number("global_step", INT_MAX)), number("seed", UINT64_MAX),
          int(number("tokenizer_vocab", INT_MAX, true))};
}

void load_optimizer(const Path& checkpoint, Optimizer& optimizer) {
  const Safetensors file(checkpoint / "optimizer.safetensors");
  std::map<std::string, torch::Tensor> state;
  for (const auto& [name, view] : file.tensors())
    state[name] = torch::tensor(to_floats(view)).view(view.shape);
  optimizer.load(std::move(state), file.path());
}

}  // namespace revenant
