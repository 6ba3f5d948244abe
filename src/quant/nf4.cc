#include "quant/nf4.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace revenant {

// Quantiles of the normal distribution, scaled to [-1, 1], with an exact zero: QLoRA, appendix E.
const std::array<float, 16> nf4_code = {-1.0f,        -0.6961928f,  -0.52507305f,  -0.3949175f,
                                        -0.28444138f, -0.18477343f, -0.091050036f, 0.0f,
                                        0.0795803f,   0.1609302f,   0.2461123f,    0.33791524f,
                                        0.44070983f,  0.562617f,    0.72295684f,   1.0f};

namespace {

// The positive half of the dynamic map: for e = 0..6, the midpoints of 2^e equal parts of
// [0.1, 1], times 10^(e-6). Kept as numbers because bitsandbytes makes them with a vectorised
// linspace whose last bits no plain formula reproduces.
constexpr std::array<float, 127> scale_code_half = {
    5.5000004e-07f, 3.2500002e-06f, 7.75e-06f,      2.1249998e-05f, 4.375e-05f,     6.625e-05f,
    8.875e-05f,     0.00015625001f, 0.00026875004f, 0.00038125002f, 0.00049375003f, 0.0006062501f,
    0.00071875006f, 0.00083125f,    0.0009437501f,  0.0012812499f,  0.00184375f,    0.00240625f,
    0.00296875f,    0.0035312497f,  0.00409375f,    0.0046562497f,  0.0052187503f,  0.00578125f,
    0.00634375f,    0.00690625f,    0.00746875f,    0.00803125f,    0.00859375f,    0.009156249f,
    0.00971875f,    0.01140625f,    0.01421875f,    0.01703125f,    0.01984375f,    0.02265625f,
    0.02546875f,    0.028281247f,   0.03109375f,    0.033906247f,   0.036718752f,   0.03953125f,
    0.042343747f,   0.04515625f,    0.04796875f,    0.05078125f,    0.05359375f,    0.05640625f,
    0.059218753f,   0.062031247f,   0.06484375f,    0.067656256f,   0.070468746f,   0.07328125f,
    0.07609375f,    0.07890625f,    0.08171874f,    0.08453125f,    0.08734375f,    0.09015625f,
    0.092968754f,   0.095781244f,   0.09859375f,    0.107031256f,   0.12109375f,    0.13515624f,
    0.14921875f,    0.16328125f,    0.17734374f,    0.19140625f,    0.20546874f,    0.21953125f,
    0.23359376f,    0.24765626f,    0.26171875f,    0.27578127f,    0.28984374f,    0.30390626f,
    0.31796873f,    0.33203125f,    0.3460937f,     0.36015624f,    0.37421876f,    0.38828123f,
    0.40234375f,    0.4164062f,     0.43046874f,    0.44453126f,    0.45859373f,    0.47265625f,
    0.48671877f,    0.50078124f,    0.51484376f,    0.5289062f,     0.54296875f,    0.5570313f,
    0.5710938f,     0.58515626f,    0.5992187f,     0.61328125f,    0.6273438f,     0.64140624f,
    0.65546876f,    0.6695313f,     0.68359375f,    0.6976563f,     0.7117188f,     0.72578126f,
    0.7398438f,     0.75390625f,    0.7679688f,     0.78203124f,    0.7960937f,     0.8101562f,
    0.82421875f,    0.8382812f,     0.85234374f,    0.8664062f,     0.8804687f,     0.89453125f,
    0.9085938f,     0.92265624f,    0.9367187f,     0.9507812f,     0.96484375f,    0.9789062f,
    0.99296874f};

// Ties to the lower entry; `code` ascends.
template <size_t N>
uint8_t nearest(const std::array<float, N>& code, float x) {
  const auto above = std::lower_bound(code.begin(), code.end(), x);
  if (above == code.begin()) return 0;
  if (above == code.end()) return uint8_t(N - 1);
  const auto below = above - 1;
  return uint8_t((x - *below <= *above - x ? below : above) - code.begin());
}

float absmax_of(std::span<const float> block) {
  float largest = 0;
  for (const float x : block) largest = std::max(largest, std::fabs(x));
  return largest;
}

// Largest magnitude of each block; calls each(i, x[i] / that) for every element.
template <class Each>
std::vector<float> in_blocks(std::span<const float> x, size_t block, Each each) {
  std::vector<float> absmax;
  for (size_t begin = 0; begin < x.size(); begin += block) {
    const auto part = x.subspan(begin, std::min(block, x.size() - begin));
    absmax.push_back(absmax_of(part));
    const float scale = absmax.back();
    for (size_t i = 0; i < part.size(); ++i) each(begin + i, scale > 0 ? part[i] / scale : 0);
  }
  return absmax;
}

std::vector<float> unpack(int64_t count, std::span<const uint8_t> packed,
                          std::span<const float> absmax) {
  CHECK(count >= 0 && int64_t(packed.size()) == (count + 1) / 2 &&
        int64_t(absmax.size()) == (count + nf4_block - 1) / nf4_block);
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i) {
    const uint8_t index = i % 2 == 0 ? packed[i / 2] >> 4 : packed[i / 2] & 15;
    x[i] = nf4_code[index] * absmax[i / nf4_block];
  }
  return x;
}

}  // namespace

const std::array<float, 256>& nf4_scale_code() {
  static const auto code = [] {
    std::array<float, 256> all{};
    for (size_t i = 0; i < scale_code_half.size(); ++i) {
      all[126 - i] = -scale_code_half[i];
      all[128 + i] = scale_code_half[i];
    }
    all[255] = 1;
    return all;
  }();
  return code;
}

Nf4 quantize_nf4(std::span<const float> weight) {
  for (const float x : weight) {
    if (!std::isfinite(x)) throw Error("quant", "nf4", "finite weights", std::to_string(x));
  }
  Nf4 result{int64_t(weight.size()), std::vector<uint8_t>((weight.size() + 1) / 2), {}};
  result.absmax = in_blocks(weight, nf4_block, [&](size_t i, float x) {
    result.packed[i / 2] |= uint8_t(nearest(nf4_code, x) << (i % 2 == 0 ? 4 : 0));
  });
  return result;
}

std::vector<float> dequantize_nf4(const Nf4& weight) {
  return unpack(weight.count, weight.packed, weight.absmax);
}

Nf4Scales quantize_nf4_scales(std::span<const float> absmax) {
  double sum = 0;
  for (const float x : absmax) sum += x;
  Nf4Scales scales;
  scales.offset = absmax.empty() ? 0 : float(sum / double(absmax.size()));
  std::vector<float> centred;
  for (const float x : absmax) centred.push_back(x - scales.offset);
  scales.values.resize(absmax.size());
  scales.absmax2 = in_blocks(centred, nf4_scale_block, [&](size_t i, float x) {
    scales.values[i] = nearest(nf4_scale_code(), x);
  });
  return scales;
}

std::vector<float> dequantize_nf4_scales(const Nf4Scales& scales) {
  CHECK(scales.absmax2.size() == (scales.values.size() + nf4_scale_block - 1) / nf4_scale_block);
  std::vector<float> absmax;
  for (size_t i = 0; i < scales.values.size(); ++i) {
    const float scaled = nf4_scale_code()[scales.values[i]] * scales.absmax2[i / nf4_scale_block];
    absmax.push_back(scaled + scales.offset);
  }
  return absmax;
}

DoubleNf4 quantize_nf4_double(std::span<const float> weight) {
  Nf4 plain = quantize_nf4(weight);
  return {plain.count, std::move(plain.packed), quantize_nf4_scales(plain.absmax)};
}

std::vector<float> dequantize_nf4(const DoubleNf4& weight) {
  return unpack(weight.count, weight.packed, dequantize_nf4_scales(weight.scales));
}

}  // namespace revenant
