#include "image/resize.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>

#include "base/error.h"

namespace revenant {
namespace {

// One output along an axis: the sum over t of weights[t] * input[first + t], in fixed point.
struct Taps {
  int first = 0;
  std::vector<int32_t> weights;
};

// One axis of a resize, with `bits` fractional bits. Taps are made one by one: together they would
// be four for every pixel of the side that shrinks, and sides may be hundreds of millions long.
struct Axis {
  int in, out, bits;
  Taps (*taps)(const Axis& axis, int output);
};

double cubic(double x, double a) {
  x = std::fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

int32_t round_half_away(double x) { return int32_t(x < 0 ? x - 0.5 : x + 0.5); }

// Pillow's precompute_coeffs and normalize_coeffs_8bpc (Resample.c), operation by operation.
Taps taps_pillow(const Axis& axis, int output) {
  const double scale = double(axis.in) / axis.out, stretch = std::max(scale, 1.0);
  const double support = 2 * stretch, centre = (output + 0.5) * scale, shrink = 1 / stretch;
  const int first = std::max(int(centre - support + 0.5), 0);
  std::vector<double> exact(size_t(std::min(int(centre + support + 0.5), axis.in) - first));
  double sum = 0;
  for (size_t t = 0; t < exact.size(); ++t)
    sum += exact[t] = cubic((int(t) + first - centre + 0.5) * shrink, -0.5);
  Taps taps{first, {}};
  for (const double w : exact)
    taps.weights.push_back(round_half_away((sum != 0 ? w / sum : w) * (1 << axis.bits)));
  return taps;
}

Axis axis_pillow(int in, int out) { return {in, out, 22, taps_pillow}; }

struct ExactTaps {
  int first;
  std::vector<double> weights;
};

ExactTaps exact_taps_torch(int in, int out, int output) {
  const double source = (output + 0.5) * (double(in) / out) - 0.5, base = std::floor(source);
  const int first = std::clamp(int(base) - 1, 0, in - 1);
  ExactTaps taps{first, std::vector<double>(size_t(std::min(4, in - first)))};
  for (int t = 0; t < 4; ++t) {  // taps outside merge into the edge pixel
    const int at = std::clamp(int(base) - 1 + t, 0, in - 1);
    taps.weights[size_t(at - first)] += cubic(source - (base - 1 + t), -0.75);
  }
  return taps;
}

Taps taps_torch(const Axis& axis, int output) {
  const ExactTaps exact = exact_taps_torch(axis.in, axis.out, output);
  Taps taps{exact.first, {}};
  for (const double w : exact.weights)
    taps.weights.push_back(round_half_away(w * (1 << axis.bits)));
  return taps;
}

// The largest precision for which every weight still fits 16 bits (at most 22).
int precision_torch(double largest) {
  int bits = 0;
  while (bits < 22 && int(0.5 + largest * (1 << (bits + 1))) < (1 << 15)) ++bits;
  return bits;
}

Axis axis_torch(int in, int out) {
  double largest = 0;
  for (int i = 0; i < out; ++i)
    for (const double w : exact_taps_torch(in, out, i).weights) largest = std::max(largest, w);
  return {in, out, precision_torch(largest), taps_torch};
}

uint8_t to_level(int32_t sum, int bits) { return uint8_t(std::clamp(sum >> bits, 0, 255)); }

// The horizontal pass.
class Across {
 public:
  explicit Across(const Axis& axis) : axis_(axis), row_(size_t(axis.out) * 3) {
    if (axis.in > longest_kept) return;
    for (int x = 0; x < axis.out; ++x) kept_.push_back(axis.taps(axis, x));
  }
  // The resized row; it stands until the next call.
  const uint8_t* operator()(const uint8_t* row) {
    for (int x = 0; x < axis_.out; ++x) {
      if (kept_.empty())
        put(row, axis_.taps(axis_, x), x);
      else
        put(row, kept_[size_t(x)], x);
    }
    return row_.data();
  }

 private:
  static constexpr int longest_kept = 1 << 20;  // pixels; longer rows are few, and make them anew

  void put(const uint8_t* row, const Taps& taps, int x) {
    const uint8_t* from = row + size_t(taps.first) * 3;
    int32_t r = 1 << (axis_.bits - 1), g = r, b = r;
    for (const int32_t weight : taps.weights) {
      r += weight * from[0];
      g += weight * from[1];
      b += weight * from[2];
      from += 3;
    }
    uint8_t* to = &row_[size_t(x) * 3];
    to[0] = to_level(r, axis_.bits);
    to[1] = to_level(g, axis_.bits);
    to[2] = to_level(b, axis_.bits);
  }

  Axis axis_;
  std::vector<Taps> kept_;
  std::vector<uint8_t> row_;
};

// The vertical pass. It is given the rows one after the other, so that what lies between the passes
// is never there as a whole: for a picture one pixel wide that would be hundreds of its size.
class Down {
 public:
  Down(const Axis& axis, Image& out) : axis_(axis), out_(out) {}

  void operator()(const uint8_t* row) {
    while (begun_ < axis_.out && (running_.empty() || running_.back().taps.first <= row_)) begin();
    for (Running& output : running_) {
      if (output.taps.first > row_) break;
      const int32_t weight = output.taps.weights[size_t(row_ - output.taps.first)];
      for (size_t x = 0; x < output.sums.size(); ++x) output.sums[x] += weight * row[x];
    }
    ++row_;
    while (!running_.empty() && running_.front().end() <= row_) finish();
  }

 private:
  struct Running {
    Taps taps;
    std::vector<int32_t> sums;
    int end() const { return taps.first + int(taps.weights.size()); }
  };

  void begin() {
    running_.push_back({axis_.taps(axis_, begun_++),
                        std::vector<int32_t>(size_t(out_.width) * 3, 1 << (axis_.bits - 1))});
  }
  void finish() {
    for (const int32_t sum : running_.front().sums) out_.rgb[done_++] = to_level(sum, axis_.bits);
    running_.pop_front();
  }

  Axis axis_;
  Image& out_;
  std::deque<Running> running_;  // outputs on their way, and the next one
  int row_ = 0, begun_ = 0;      // inputs; outputs
  size_t done_ = 0;              // levels
};

Image resize(const Image& image, int width, int height, Axis (*axis)(int in, int out)) {
  CHECK(image.width > 0 && image.height > 0 && width > 0 && height > 0);
  if (width == image.width && height == image.height) return image;
  Image out = blank_image(width, height);
  std::optional<Across> across;
  if (width != image.width) across.emplace(axis(image.width, width));
  std::optional<Down> down;
  if (height != image.height) down.emplace(axis(image.height, height), out);
  const size_t stride = size_t(image.width) * 3, out_stride = size_t(width) * 3;
  for (size_t y = 0; y < size_t(image.height); ++y) {
    const uint8_t* row = image.rgb.data() + y * stride;
    if (across) row = (*across)(row);
    if (down)
      (*down)(row);
    else
      std::copy_n(row, out_stride, out.rgb.begin() + ptrdiff_t(y * out_stride));
  }
  return out;
}

}  // namespace

Image resize_bicubic(const Image& image, int width, int height) {
  return resize(image, width, height, axis_pillow);
}

Image resize_bicubic_torch(const Image& image, int width, int height) {
  return resize(image, width, height, axis_torch);
}

}  // namespace revenant
