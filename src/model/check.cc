#include "model/check.h"

#include <algorithm>
#include <set>

#include "base/place.h"
#include "base/shape.h"

namespace revenant {
namespace {

std::vector<TensorSpec> table_of(const Config& config, Naming naming) {
  std::vector<TensorSpec> table = tensor_table(config);
  for (TensorSpec& spec : table) spec = placed(std::move(spec), naming);
  return table;
}

// Tensors of a mechanism that the configuration switches off.
std::set<std::string> switched_off(Config config, Naming naming) {
  std::set<std::string> names;
  if (!config.phantom.switched_off && !config.trol.switched_off) return names;
  config.phantom.on |= config.phantom.switched_off;
  config.trol.on |= config.trol.switched_off;
  for (const TensorSpec& spec : table_of(config, naming)) names.insert(spec.stored);
  return names;
}

// The output matrix under the name that it has in models which do not tie it; "": not tied.
std::string tied_copy(Config config, Naming naming) {
  if (!config.tied_output) return "";
  if (naming == Naming::canonical) return "output.weight";
  config.tied_output = false;
  return stored_name(config, "output.weight");
}

// How many whole names between dots two end with in common.
int common_end(const std::string& a, const std::string& b) {
  int names = 0;
  for (size_t i = 1; i <= std::min(a.size(), b.size()); ++i) {
    if (a[a.size() - i] != b[b.size() - i]) break;
    names += a[a.size() - i] == '.' || i == a.size() || i == b.size();
  }
  return names;
}

// Tools put prefixes before the released names, or drop them.
std::string nearest(const std::string& name, const std::map<std::string, Stored>& tensors) {
  std::string found = "nothing";
  int longest = 1;  // "weight" alone says nothing
  for (const auto& [other, stored] : tensors)
    if (const int common = common_end(name, other); common > longest)
      longest = common, found = "nothing of this name, but " + other;
  return found;
}

void check_copy(const Place& place, const Stored& copy, const std::string& name,
                const Stored& original) {
  const bool equal = copy.type == original.type && copy.shape == original.shape &&
                     std::ranges::equal(copy.data, original.data);
  if (!equal) place.fail("a copy of " + name + " (tie_word_embeddings is true)", "other values");
}

}  // namespace

TensorSpec placed(TensorSpec spec, Naming naming) {
  if (naming == Naming::released) return spec;
  spec.stored = spec.name;
  spec.stored_shape = spec.shape;
  spec.rows = {0, spec.shape[0], 0};
  return spec;
}

std::vector<std::string> check_stored(const Config& config,
                                      const std::map<std::string, Stored>& tensors,
                                      const std::function<std::string(const std::string&)>& file_of,
                                      Naming naming) {
  const auto place_of = [&](const std::string& name) {
    return Place{"checkpoint", file_of(name)} / name;
  };
  std::set<std::string> used;
  for (const TensorSpec& spec : table_of(config, naming)) {
    if (!used.insert(spec.stored).second) continue;
    const auto it = tensors.find(spec.stored);
    if (it == tensors.end())
      (Place{"checkpoint", file_of("")} / spec.stored)
          .fail(shape_text(spec.stored_shape), nearest(spec.stored, tensors));
    if (it->second.shape != spec.stored_shape)
      place_of(spec.stored).fail(shape_text(spec.stored_shape), shape_text(it->second.shape));
  }
  const std::set<std::string> off = switched_off(config, naming);
  const std::string copy = tied_copy(config, naming);
  const std::string table_name = "token_embd.weight";
  const std::string embedding =
      naming == Naming::canonical ? table_name : stored_name(config, table_name);
  std::vector<std::string> unused;
  for (const auto& [name, stored] : tensors) {
    if (used.contains(name)) continue;
    if (name == copy) {
      check_copy(place_of(name), stored, embedding, tensors.at(embedding));
      continue;
    }
    if (!is_known_unused(name) && !off.contains(name))
      place_of(name).fail(
          "only tensors of a " + config.architecture + " model on " + name_of(config.backbone),
          "a tensor that nothing uses");
    unused.push_back(name);
  }
  return unused;
}

}  // namespace revenant
