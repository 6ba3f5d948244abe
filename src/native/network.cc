#include "native/network.h"

#include "base/json.h"
#include "model/generation.h"

namespace revenant {
Network Network::open(const Path& directory, const std::vector<std::string>& settings,
                      std::optional<Format> wanted) {
  Network network;
  network.checkpoint = Checkpoint::open(directory);
  network.config = parse_config(with_settings(network.checkpoint.config(), settings),
                                (directory / "config.json").string());
  if (const Path file = directory / "generation_config.json"; std::filesystem::exists(file))
    network.config = with_generation(network.config, read_json(file), file.string());
  network.warnings = network.config.warnings;
  WeightSource source;
  source.checkpoint = &network.checkpoint;
  if (const std::string stem = stored_gate(network.config); !stem.empty())
    if ((network.gate_file = gate_beside(network.checkpoint, stem))) {
      source.extra_file = network.gate_file->file;
      source.extra = network.gate_file->tensors(stem);
      if (!network.gate_file->warning.empty())
        network.warnings.push_back(network.gate_file->warning);
    }
  network.weights = load_weights(network.config, source, wanted);
  return network;
}

}  // namespace revenant
