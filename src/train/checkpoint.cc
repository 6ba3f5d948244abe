#include "train/checkpoint.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "io/safetensors.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
constexpr const char* prefix = "checkpoint-";

const torch::optim::AdamWParamState* state_of(const torch::optim::AdamW& optimizer,
                                              const torch::Tensor& p) {
  const auto it = optimizer.state().find(p.unsafeGetTensorImpl());
  if (it == optimizer.state().end()) return nullptr;
  return static_cast<const torch::optim::AdamWParamState*>(it->second.get());
}

NamedTensor named(const std::string& name, const torch::Tensor& t) {
  return {name,
          {DType::f32,
           {t.sizes().begin(), t.sizes().end()},
           {static_cast<const std::byte*>(t.data_ptr()), t.nbytes()}}};
}

torch::Tensor moment(const Safetensors& file, const std::string& name, const torch::Tensor& like) {
  const auto it = file.tensors().find(name);
  if (it == file.tensors().end())
    throw Error("checkpoint", file.path().string() + ": " + name, "a moment of the optimiser",
                "nothing");
  const torch::Tensor t = torch::tensor(to_floats(it->second));
  if (t.numel() != like.numel())
    throw Error("checkpoint", file.path().string() + ": " + name,
                std::to_string(like.numel()) + " values", std::to_string(t.numel()));
  return t.view_as(like);
}

}  // namespace

torch::optim::AdamW make_optimizer(const TorchModel& model, double weight_decay, double beta1,
                                   double beta2, double epsilon, bool decay_all) {
  std::vector<torch::Tensor> decayed, plain;
  for (const auto& [name, parameter] : model.parameters)
    (decay_all || parameter.dim() > 1 ? decayed : plain).push_back(parameter);
  const auto options = [&](double decay) {
    return std::make_unique<torch::optim::AdamWOptions>(
        torch::optim::AdamWOptions(1e-3).betas({beta1, beta2}).eps(epsilon).weight_decay(decay));
  };
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(decayed, options(weight_decay));
  if (!plain.empty()) groups.emplace_back(plain, options(0));
  return torch::optim::AdamW(groups, torch::optim::AdamWOptions(1e-3));
}

void copy_tokenizer(const Path& from, const Path& to) {
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "merges.txt",
        "added_tokens.json", "special_tokens_map.json"})
    if (fs::exists(from / name)) write_file(to / name, read_file(from / name));
}

void save_checkpoint(const Path& output_dir, const TorchModel& model,
                     const torch::optim::AdamW& optimizer, const TrainerState& state,
                     const Path& tokenizer, int keep) {
  const Path place = output_dir / (prefix + std::to_string(state.global_step));
  const Path temporary = place.string() + ".tmp";
  fs::remove_all(temporary);
  fs::create_directories(temporary);
  save_torch_model(model, temporary, DType::f32);
  copy_tokenizer(tokenizer, temporary);
  std::vector<NamedTensor> moments;
  for (const auto& [name, parameter] : model.parameters)
    if (const auto* s = state_of(optimizer, parameter)) {
      moments.push_back(named("exp_avg." + name, s->exp_avg()));
      moments.push_back(named("exp_avg_sq." + name, s->exp_avg_sq()));
    }
  write_safetensors(temporary / "optimizer.safetensors", moments);
  const nlohmann::json json = {{"global_step", state.global_step}, {"seed", state.seed}};
  write_file(temporary / "trainer_state.json", json.dump(2) + "\n");
  fs::remove_all(place);
  fs::rename(temporary, place);
  sync_directory(output_dir);
  const std::vector<Path> all = checkpoints_in(output_dir);
  for (size_t i = size_t(keep); i < all.size(); ++i) fs::remove_all(all[i]);
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
  if (!json.is_object() || !json.contains("global_step") ||
      !json["global_step"].is_number_integer())
    throw Error("checkpoint", file.string() + ": global_step", "an integer", "nothing");
  return {json["global_step"].get<int>(), json.value("seed", uint64_t(0))};
}

void load_optimizer(const Path& checkpoint, const TorchModel& model,
                    torch::optim::AdamW& optimizer) {
  const Safetensors file(checkpoint / "optimizer.safetensors");
  const int step = read_trainer_state(checkpoint).global_step;
  for (const auto& [name, parameter] : model.parameters) {
    auto state = std::make_unique<torch::optim::AdamWParamState>();
    state->step(step);
    state->exp_avg(moment(file, "exp_avg." + name, parameter));
    state->exp_avg_sq(moment(file, "exp_avg_sq." + name, parameter));
    optimizer.state()[parameter.unsafeGetTensorImpl()] = std::move(state);
  }
}

}  // namespace revenant
