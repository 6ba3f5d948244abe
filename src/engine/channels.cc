#include "engine/channels.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "native/forward.h"

namespace revenant {
namespace {

std::vector<float> test_tile(int side) {
  Random random(1);
  std::vector<float> pixels;
  for (int channel = 0; channel < 3; ++channel)
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x)
        pixels.push_back(2 * y < side ? float(4 * random.uniform() - 2)
                                      : float(2 * std::sin((channel + 1) * 0.05 * x + 0.03 * y)));
  return pixels;
}

double least_cosine(const Tensor& a, const Tensor& b) {
  double least = 1;
  for (int r = 0; r < a.rows; ++r) {
    double ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < a.width; ++i) {
      const double x = a.row(r)[i], y = b.row(r)[i];
      ab += x * y, aa += x * x, bb += y * y;
    }
    least = std::min(least, aa * bb > 0 ? ab / std::sqrt(aa * bb) : double(aa == bb));
  }
  return least;
}

}  // namespace

double channels_cosine(const Network& network, Threads& threads) {
  const Config& config = network.config;
  Weights<Weight> rounded = network.weights;
  for (TowerLayer<Weight>& layer : rounded.tower.layers)
    for (auto* linear : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.up, &layer.down}) {
      const Packed stored = linear->weight.packed;
      if (format_for(Format::q8_0, size_t(stored.columns)) != Format::q8_0) continue;
      linear->weight.packed =
          packed_channels(stored.rows, stored.columns, threads,
                          [&](int row, float* out) { stored.unpack_row(row, out); });
    }
  const int side = config.vision.image;
  const std::vector<float> pixels = test_tile(side);
  const auto features = [&](const Weights<Weight>& weights) {
    return see({config, weights, threads}, pixels, 1, side);
  };
  return least_cosine(features(network.weights), features(rounded));
}

}  // namespace revenant
