#include "native/network.h"

#include <algorithm>
#include <cmath>

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

// A ghost is at most |W_o| |W_v| times the longest value that its mixer looks at (Executor's
// keep_anchors), so eta y is off by at most eta |W_o| |W_v| of what 8 bits are off by, of that
// value, of which the cache itself is off by what its own format is. The one is of the largest of
// 32 numbers, the other of each: hence much less, not less.
CacheTypes Network::cache_types(std::optional<Format> wanted) const {
  constexpr double much_less = 1.0 / 16;
  const bool f32 = weights.layers.front().mlp.up.weight.packed.format == Format::f32;
  const Format all = wanted.value_or(f32 ? Format::f32 : Format::f16);
  const PhantomConfig& phantom = config.phantom;
  if (!phantom.on || phantom.anchor == AnchorOf::learned ||
      size_t(config.head_dim) % info(Format::q8_0).block != 0)
    return all;
  double most = 0;
  for (const auto& layer : weights.layers) {
    const PhantomWeights<Weight>& w = layer.attention.phantom;
    const double eta = w.eta ? double(w.eta.vector.data()[0]) : phantom.eta;
    most = std::max(most, std::abs(eta) * w.mix_v.o.weight.norm * w.mix_v.v.weight.norm);
  }
  const bool few_bits = most * info(Format::q8_0).error < much_less * info(all).error;
  return {all, few_bits ? Format::q8_0 : all};
}

}  // namespace revenant
