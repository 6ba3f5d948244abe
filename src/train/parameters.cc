#include "train/parameters.h"

#include <cstdio>

#include "base/error.h"

namespace revenant {
namespace {

bool matches(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == pattern.npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (size_t at = star; at <= name.size(); ++at)
    if (matches(rest, name.substr(at))) return true;
  return false;
}

bool selects(const std::string& pattern, const TensorSpec& spec) {
  const bool lora = spec.role == Role::lora;
  if (pattern == "image_lora") return lora;
  if (lora && pattern.find("lora") == pattern.npos) return false;
  if (pattern == "all") return true;
  const Part part = part_of(spec);
  if (pattern == "projector") return part == Part::projector;
  if (pattern == "mechanism") return part == Part::mechanism;
  if (pattern == "language") return part == Part::language;
  if (pattern == "vision") return part == Part::vision;
  return matches(pattern, spec.name);
}

bool decays(const TensorSpec& spec) {
  switch (spec.role) {
    case Role::embedding:
    case Role::linear:
    case Role::mixer:
    case Role::lora:
    case Role::adapter:
      return true;
    case Role::gate:
      return !spec.name.ends_with(".bias");
    case Role::bias:
    case Role::norm:
    case Role::scale:
    case Role::position:
      return false;
  }
  return false;
}

std::string millions(int64_t count) {
  char text[32];
  std::snprintf(text, sizeof text, count < 100'000 ? "%.3f M" : "%.1f M", double(count) / 1e6);
  return text;
}

}  // namespace

std::set<std::string> selected(const TensorSpecs& specs, const std::vector<std::string>& patterns,
                               const std::string& key) {
  std::set<std::string> names;
  for (const std::string& pattern : patterns) {
    bool any = false;
    for (const auto& [name, spec] : specs)
      if (selects(pattern, spec)) {
        names.insert(name);
        any = true;
      }
    if (!any)
      throw Error("recipe", key,
                  "projector, mechanism, language, vision, image_lora, all or a pattern of weights "
                  "that this model has",
                  "\"" + pattern + "\"");
  }
  return names;
}

BaseOf base_of(const Recipe& recipe) {
  if (recipe.quantize == Recipe::Quantize::none) return {};
  return [&recipe](const Config& config) -> std::optional<QuantizedBase> {
    using Kind = QuantizedBase::Kind;
    const bool released = recipe.quantize == Recipe::Quantize::released;
    const Kind kind = recipe.quantize == Recipe::Quantize::int8 ? Kind::int8 : Kind::nf4;
    QuantizedBase base = released ? released_base(config) : paper_base(config, kind);
    const TensorSpecs specs = unique_tensors(config);
    for (const std::string& name : selected(specs, recipe.trainable, "trainable"))
      base.matrices.erase(specs.at(name).stored);
    if (base.matrices.empty())
      throw Error("recipe", "quantize", "a matrix that does not train whole", "none");
    return base;
  };
}

void set_trainable(TorchModel& model, const Recipe& recipe) {
  const std::set<std::string> names = selected(model.specs, recipe.trainable, "trainable");
  const torch::NoGradGuard no_grad;
  for (auto& [name, parameter] : model.parameters) {
    const bool trains = names.contains(name);
    parameter.requires_grad_(trains);
    if (trains || !recipe.bf16 || model.specs.at(name).role != Role::linear) continue;
    const torch::Tensor narrow = parameter.to(torch::kBFloat16);
    if (torch::equal(narrow.to(parameter.scalar_type()), parameter)) parameter = narrow;
  }
}

bool tower_is_frozen(const TorchModel& model) {
  const auto in_tower = [](const auto& item) { return item.first.starts_with("v."); };
  return std::ranges::none_of(trained(model), in_tower);
}

NamedTensors trained(const TorchModel& model) {
  NamedTensors tensors;
  for (const auto& [name, parameter] : model.parameters)
    if (parameter.requires_grad()) tensors.emplace(name, parameter);
  return tensors;
}

std::map<std::string, ParameterSettings> settings_of(const TorchModel& model,
                                                     const Recipe& recipe) {
  std::map<std::string, ParameterSettings> settings;
  for (const auto& [name, parameter] : trained(model))
    settings[name] = {1, decays(model.specs.at(name)) ? recipe.weight_decay : 0,
                      recipe.adam_epsilon};
  std::set<std::string> taken;
  for (const ParameterGroup& group : recipe.parameter_groups) {
    const std::set<std::string> names =
        selected(model.specs, group.match, "parameter_groups: match");
    if (std::ranges::none_of(names, [&](const auto& name) { return settings.contains(name); }))
      throw Error("recipe", "parameter_groups: match", "a weight that trains",
                  "frozen ones alone, such as " + *names.begin());
    for (const std::string& name : names) {
      const auto it = settings.find(name);
      if (it == settings.end() || !taken.insert(name).second) continue;
      if (group.learning_rate) it->second.rate = *group.learning_rate / recipe.learning_rate;
      if (group.weight_decay) it->second.weight_decay = *group.weight_decay;
      if (group.adam_epsilon) it->second.adam_epsilon = *group.adam_epsilon;
    }
  }
  return settings;
}

std::map<Part, double> adam_epsilons(const TorchModel& model, const Recipe& recipe) {
  std::map<Part, double> largest;
  for (const auto& [name, settings] : settings_of(model, recipe)) {
    double& epsilon = largest[part_of(model.specs.at(name))];
    epsilon = std::max(epsilon, settings.adam_epsilon);
  }
  return largest;
}

std::string trainable_report(const TorchModel& model) {
  int64_t all = 0, trains = 0;
  std::map<Part, std::pair<int64_t, int64_t>> parts;  // trained, all
  for (const auto& [name, parameter] : model.parameters) {
    auto& [part_trains, part_all] = parts[part_of(model.specs.at(name))];
    all += parameter.numel(), part_all += parameter.numel();
    if (parameter.requires_grad()) trains += parameter.numel(), part_trains += parameter.numel();
  }
  int64_t in_few_bits = 0;
  for (const auto& [name, matrix] : model.quantized) {
    const int64_t count = matrix.rows * matrix.stored->columns;
    parts[part_of(model.specs.at(name))].second += count;
    all += count, in_few_bits += count;
  }
  std::string trained_parts, frozen_parts;
  for (const auto& [part, counts] : parts) {
    const auto& [part_trains, part_all] = counts;
    std::string& list = part_trains ? trained_parts : frozen_parts;
    list += (list.empty() ? "" : ", ") + std::string(name_of(part)) + " " +
            millions(part_trains ? part_trains : part_all);
    if (part_trains && part_trains < part_all) list += " of " + millions(part_all);
  }
  return "trains " + millions(trains) + " of " + millions(all) + " parameters: " + trained_parts +
         (frozen_parts.empty() ? "" : "; frozen: " + frozen_parts) +
         (in_few_bits
              ? "; in " + std::string(name_of(model.base->kind)) + ": " + millions(in_few_bits)
              : "");
}

}  // namespace revenant
