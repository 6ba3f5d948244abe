#include "native/network.h"

#include "base/json.h"
#include "model/generation.h"

namespace revenant {

Network Network::open(const Path& path, const std::vector<std::string>& settings,
                      const std::optional<QuantizeType>& wanted) {
  constexpr const char* generation = "generation_config.json";
  Network network;
  network.files = ModelFiles::open(path, settings);
  network.config = network.files.config();
  network.warnings = network.files.warnings();
  if (const FileSet& small = network.files.small(); small.has(generation)) {
    const auto told = long(network.config.warnings.size());
    network.config =
        with_generation(network.config, read_json(small, generation), small.place_of(generation));
    network.warnings.insert(network.warnings.end(), network.config.warnings.begin() + told,
                            network.config.warnings.end());
  }
  network.weights = load_weights(network.files, wanted);
  return network;
}

}  // namespace revenant
