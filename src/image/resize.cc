#include "image/resize.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace revenant {
namespace {

// One axis of a resize: output i is the sum over t < count[i] of weight[i][t] * input[first[i] +
// t], in fixed point with `bits` fractional bits.
struct Taps {
  int bits = 0;
  size_t width = 0;  // of a row of `weights`
  std::vector<int> first, count;
  std::vector<int32_t> weights;

  const int32_t* row(size_t i) const { return weights.data() + i * width; }
};

double cubic(double x, double a) {
  x = std::fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

int32_t round_half_away(double x) { return int32_t(x < 0 ? x - 0.5 : x + 0.5); }

// Pillow's precompute_coeffs and normalize_coeffs_8bpc (Resample.c), operation by operation.
Taps taps_pillow(int in, int out) {
  const double scale = double(in) / out, stretch = std::max(scale, 1.0), support = 2 * stretch;
  Taps taps{22, size_t(std::ceil(support)) * 2 + 1, {}, {}, {}};
  taps.weights.resize(taps.width * size_t(out));
  std::vector<double> exact(taps.width);
  for (int i = 0; i < out; ++i) {
    const double centre = (i + 0.5) * scale, shrink = 1 / stretch;
    const int first = std::max(int(centre - support + 0.5), 0);
    const int count = std::min(int(centre + support + 0.5), in) - first;
    double sum = 0;
    for (int t = 0; t < count; ++t)
      sum += exact[size_t(t)] = cubic((t + first - centre + 0.5) * shrink, -0.5);
    for (int t = 0; t < count; ++t)
      taps.weights[size_t(i) * taps.width + size_t(t)] =
          round_half_away((sum != 0 ? exact[size_t(t)] / sum : exact[size_t(t)]) * (1 << 22));
    taps.first.push_back(first);
    taps.count.push_back(count);
  }
  return taps;
}

// The largest precision for which every weight still fits 16 bits (at most 22).
int precision_torch(double largest) {
  int bits = 0;
  while (bits < 22 && int(0.5 + largest * (1 << (bits + 1))) < (1 << 15)) ++bits;
  return bits;
}

Taps taps_torch(int in, int out) {
  const double scale = double(in) / out;
  Taps taps{0, 4, {}, {}, {}};
  std::vector<double> exact(4 * size_t(out), 0.0);
  for (int i = 0; i < out; ++i) {
    const double source = (i + 0.5) * scale - 0.5, base = std::floor(source);
    const int first = std::clamp(int(base) - 1, 0, in - 1);
    for (int t = 0; t < 4; ++t) {  // taps outside merge into the edge pixel
      const int at = std::clamp(int(base) - 1 + t, 0, in - 1);
      exact[size_t(4 * i + at - first)] += cubic(source - (base - 1 + t), -0.75);
    }
    taps.first.push_back(first);
    taps.count.push_back(std::min(4, in - first));
  }
  taps.bits = precision_torch(*std::ranges::max_element(exact));
  for (const double w : exact) taps.weights.push_back(round_half_away(w * (1 << taps.bits)));
  return taps;
}

uint8_t to_level(int32_t sum, int bits) { return uint8_t(std::clamp(sum >> bits, 0, 255)); }

Image resize_rows(const Image& image, const Taps& taps) {
  Image out = blank_image(int(taps.first.size()), image.height);
  const int32_t half = 1 << (taps.bits - 1);
  uint8_t* to = out.rgb.data();
  for (int y = 0; y < image.height; ++y) {
    const uint8_t* row = image.rgb.data() + size_t(y) * size_t(image.width) * 3;
    for (size_t x = 0; x < taps.first.size(); ++x, to += 3) {
      const uint8_t* from = row + size_t(taps.first[x]) * 3;
      const int32_t* weight = taps.row(x);
      int32_t r = half, g = half, b = half;
      for (int t = 0; t < taps.count[x]; ++t, from += 3) {
        r += weight[t] * from[0];
        g += weight[t] * from[1];
        b += weight[t] * from[2];
      }
      to[0] = to_level(r, taps.bits);
      to[1] = to_level(g, taps.bits);
      to[2] = to_level(b, taps.bits);
    }
  }
  return out;
}

Image resize_columns(const Image& image, const Taps& taps) {
  Image out = blank_image(image.width, int(taps.first.size()));
  const size_t stride = size_t(image.width) * 3;
  std::vector<int32_t> sums(stride);
  for (size_t y = 0; y < taps.first.size(); ++y) {
    std::ranges::fill(sums, 1 << (taps.bits - 1));
    for (int t = 0; t < taps.count[y]; ++t) {
      const uint8_t* from = image.rgb.data() + size_t(taps.first[y] + t) * stride;
      const int32_t weight = taps.row(y)[t];
      for (size_t x = 0; x < stride; ++x) sums[x] += weight * from[x];
    }
    uint8_t* to = out.rgb.data() + y * stride;
    for (size_t x = 0; x < stride; ++x) to[x] = to_level(sums[x], taps.bits);
  }
  return out;
}

template <class Make>
Image resize(const Image& image, int width, int height, Make taps) {
  CHECK(image.width > 0 && image.height > 0 && width > 0 && height > 0);
  if (width == image.width && height == image.height) return image;
  if (width == image.width) return resize_columns(image, taps(image.height, height));
  const Image wide = resize_rows(image, taps(image.width, width));
  return height == image.height ? wide : resize_columns(wide, taps(image.height, height));
}

}  // namespace

Image resize_bicubic(const Image& image, int width, int height) {
  return resize(image, width, height, taps_pillow);
}

Image resize_bicubic_torch(const Image& image, int width, int height) {
  return resize(image, width, height, taps_torch);
}

}  // namespace revenant
