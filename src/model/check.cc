#include "model/check.h"

#include <set>

#include "base/error.h"
#include "base/shape.h"
#include "model/weights.h"

namespace revenant {
namespace {

// Tensors of a mechanism that the configuration switches off.
std::set<std::string> switched_off(Config config) {
  std::set<std::string> names;
  if (!config.phantom.switched_off && !config.trol.switched_off) return names;
  config.phantom.on |= config.phantom.switched_off;
  config.trol.on |= config.trol.switched_off;
  for (const TensorSpec& spec : tensor_table(config)) names.insert(spec.stored);
  return names;
}

}  // namespace

std::vector<std::string> check_stored(
    const Config& config, const std::map<std::string, std::vector<int64_t>>& shapes,
    const std::function<std::string(const std::string&)>& file_of) {
  std::set<std::string> used;
  for (const TensorSpec& spec : tensor_table(config)) {
    if (!used.insert(spec.stored).second) continue;
    const auto it = shapes.find(spec.stored);
    if (it == shapes.end())
      throw Error("checkpoint", file_of("") + ": " + spec.stored, shape_text(spec.stored_shape),
                  "nothing");
    if (it->second != spec.stored_shape)
      throw Error("checkpoint", file_of(spec.stored) + ": " + spec.stored,
                  shape_text(spec.stored_shape), shape_text(it->second));
  }
  const std::set<std::string> off = switched_off(config);
  std::vector<std::string> unused;
  for (const auto& [name, shape] : shapes) {
    if (used.contains(name)) continue;
    if (!is_known_unused(name) && !off.contains(name))
      throw Error(
          "checkpoint", file_of(name) + ": " + name,
          "only tensors of a " + config.architecture + " model on " + name_of(config.backbone),
          "a tensor that nothing uses");
    unused.push_back(name);
  }
  return unused;
}

}  // namespace revenant
