#include "native/network.h"

#include "base/error.h"

namespace revenant {
namespace {

void take_gate(Network& network, WeightSource& source) {
  const GateFile& gate = *network.gate_file;
  source.extra_file = gate.file;
  if (gate.weight)
    source.extra[stored_name(network.config, "trol_gate.weight")] = gate.weight->view();
  if (gate.bias) source.extra[stored_name(network.config, "trol_gate.bias")] = gate.bias->view();
  if (!gate.warning.empty()) network.warnings.push_back(gate.warning);
}

}  // namespace

Network Network::open(const Path& directory, const std::vector<std::string>& settings) {
  Network network;
  network.checkpoint = Checkpoint::open(directory);
  network.config = parse_config(with_settings(network.checkpoint.config(), settings),
                                (directory / "config.json").string());
  WeightSource source;
  source.checkpoint = &network.checkpoint;
  if (network.config.trol.on &&
      !network.checkpoint.tensors().contains(stored_name(network.config, "trol_gate.weight")))
    network.gate_file = read_gate_file(directory);
  if (network.gate_file) take_gate(network, source);
  network.weights = load_weights(network.config, source);
  return network;
}

}  // namespace revenant
