#include "native/network.h"

#include <algorithm>

#include "base/error.h"

namespace revenant {
namespace {

const char* const gate_name = "trol_gating.pt";

std::string stored_name(const Config& config, const std::string& canonical) {
  for (const TensorSpec& spec : tensor_table(config))
    if (spec.name == canonical) return spec.stored;
  CHECK(false);
}

// The file lists one gate a layer, all meant to be the same. The authors' loader copies each into
// the one shared module, so the last of each kind is what their model uses (papers.md, 4.2).
void take_gate(Network& network, WeightSource& source) {
  source.extra_file = network.checkpoint.path() / gate_name;
  network.gate_file = read_torch_file(source.extra_file);
  for (const char* kind : {"weight", "bias"}) {
    const TorchTensor* last = nullptr;
    bool differ = false;
    for (const auto& [name, tensor] : network.gate_file) {
      if (!name.ends_with(std::string(".") + kind)) continue;
      differ = differ || (last && last->data != tensor.data);
      last = &tensor;
    }
    if (!last) continue;  // the tensor table's check will name what is missing
    source.extra[stored_name(network.config, std::string("trol_gate.") + kind)] = last->view();
    if (differ)
      network.warnings.push_back(source.extra_file.string() + ": the layers' gate " + kind +
                                 " differ; the last one is used everywhere, as the authors' "
                                 "loader does");
  }
}

}  // namespace

Network Network::open(const Path& directory, const std::vector<std::string>& settings) {
  Network network;
  network.checkpoint = Checkpoint::open(directory);
  network.config = parse_config(with_settings(network.checkpoint.config(), settings),
                                (directory / "config.json").string());
  WeightSource source;
  source.checkpoint = &network.checkpoint;
  if (network.config.trol.on && std::filesystem::exists(directory / gate_name) &&
      !network.checkpoint.tensors().contains(stored_name(network.config, "trol_gate.weight")))
    take_gate(network, source);
  network.weights = load_weights(network.config, source);
  return network;
}

}  // namespace revenant
