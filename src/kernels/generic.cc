// The plain twin: what every other table must compute, up to rounding. Portable C++, libm, no
// intrinsics; the sums have 16 lanes so that any compiler may vectorise them, and fixed trees.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/dtype.h"
#include "kernels/panels.h"
#include "kernels/tables.h"

namespace revenant {
namespace {

constexpr size_t lanes = 16;
constexpr int block = int(key_block), max_dim = 256;

float sum_of(float (&a)[lanes]) {
  for (size_t half = lanes / 2; half > 0; half /= 2)
    for (size_t i = 0; i < half; ++i) a[i] += a[i + half];
  return a[0];
}

float widen(float x) { return x; }
float widen(Brain x) { return to_float_bf16(x.bits); }
// Without branches: the exponent is rebased by a multiplication, which is exact.
float widen(Half x) {
  const uint32_t magnitude = x.bits & 0x7fffu, sign = uint32_t(x.bits & 0x8000u) << 16;
  const float finite = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  const uint32_t special = magnitude >= 0x7c00u ? 0x7f800000u : 0u;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(finite) | sign | special);
}

template <class W>
float dot(const float* x, const W* w, size_t k) {
  float sums[lanes] = {};
  size_t i = 0;
  for (; i + lanes <= k; i += lanes)
    for (size_t l = 0; l < lanes; ++l) sums[l] += x[i + l] * widen(w[i + l]);
  for (size_t l = 0; i + l < k; ++l) sums[l] += x[i + l] * widen(w[i + l]);
  return sum_of(sums);
}

template <class W>
void linear_of(const WeightView& view, const float* x, size_t rows, const float* bias, float* out,
               size_t out_stride) {
  const W* w = static_cast<const W*>(view.data);
  for (size_t j = 0; j < view.n; ++j)
    for (size_t r = 0; r < rows; ++r)
      out[r * out_stride + j] =
          dot(x + r * view.k, w + j * view.k, view.k) + (bias ? bias[j] : 0.0f);
}

// Some of an output's numbers that share a scale, unpacked once for all rows.
struct Run {
  float scale, min;
  int q[unit_k];
};

Run run_of(const WeightView& w, const std::byte* panel, size_t output, size_t begin, size_t size) {
  Run run;
  for (size_t i = 0; i < size; ++i) {
    const PanelNumber number = panel_number(w.format, panel, w.k, output, begin + i);
    run.q[i] = number.q - panel_shape(w.format).zero;
    run.scale = number.scale, run.min = number.min;
  }
  return run;
}

// For each run a sum of whole numbers, scaled and added as floats.
void product_of_panels(const WeightView& w, const Int8Block* x, size_t rows, const float* bias,
                       float* out, size_t out_stride) {
  const PanelShape shape = panel_shape(w.format);
  const size_t run_k = unit_k / shape.runs, panel_bytes = panel_sizes(w.format, w.k).panel;
  for (size_t j = 0; j < w.n; ++j) {
    const auto* panel = static_cast<const std::byte*>(w.data) + j / panel_outputs * panel_bytes;
    for (size_t r = 0; r < rows; ++r) out[r * out_stride + j] = 0;
    for (size_t begin = 0; begin < w.k; begin += run_k) {
      const Run run = run_of(w, panel, j % panel_outputs, begin, run_k);
      for (size_t r = 0; r < rows; ++r) {
        const Int8Block& block = x[r * (w.k / unit_k) + begin / unit_k];
        int dot = 0;
        for (size_t i = 0; i < run_k; ++i) dot += run.q[i] * block.q[begin % unit_k + i];
        float& sum = out[r * out_stride + j];
        sum = std::fma(float(dot), run.scale * block.scale, sum);
        if (shape.mins) sum = std::fma(run.min, block.total, sum);
      }
    }
    for (size_t r = 0; r < rows; ++r) out[r * out_stride + j] += bias ? bias[j] : 0.0f;
  }
}

void product(const WeightView& w, const void* x, size_t rows, const float* bias, float* out,
             size_t out_stride) noexcept {
  const auto* floats = static_cast<const float*>(x);
  if (w.format == Format::f32) return linear_of<float>(w, floats, rows, bias, out, out_stride);
  if (w.format == Format::f16) return linear_of<Half>(w, floats, rows, bias, out, out_stride);
  if (w.format == Format::bf16) return linear_of<Brain>(w, floats, rows, bias, out, out_stride);
  product_of_panels(w, static_cast<const Int8Block*>(x), rows, bias, out, out_stride);
}

Int8Block quantised(const float* x) {
  Int8Block b{};
  float most = 0, poison = 0;
  for (size_t i = 0; i < unit_k; ++i) most = std::max(most, std::fabs(x[i])), poison += x[i] - x[i];
  const float inverse = most > least_int8_input ? 127.0f / most : 0.0f;
  for (size_t i = 0; i < unit_k; ++i) {
    const float q = std::nearbyint(x[i] * inverse);
    b.q[i] = int8_t(std::fabs(q) <= 127 ? q : 0);
    b.sums[i / (unit_k / 2)] += b.q[i];
  }
  b.scale = most / 127.0f + poison;
  b.total = b.scale * float(b.sums[0] + b.sums[1]);
  return b;
}

void prepare(Input input, const float* x, size_t rows, size_t k, void* out) noexcept {
  for (size_t i = 0; input == Input::bf16 && i < rows * k; ++i)
    static_cast<float*>(out)[i] = to_float_bf16(to_bf16(x[i]));
  for (size_t i = 0; input == Input::int8 && i < rows * k; i += unit_k)
    static_cast<Int8Block*>(out)[i / unit_k] = quantised(x + i);
}

// sum over i of f(x[i])
template <class F>
float sum(const float* x, size_t n, F f) {
  float sums[lanes] = {};
  size_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (size_t l = 0; l < lanes; ++l) sums[l] += f(x[i + l]);
  for (size_t l = 0; i + l < n; ++l) sums[l] += f(x[i + l]);
  return sum_of(sums);
}

void rms_norm(const float* x, size_t rows, size_t width, const float* weight, float eps,
              float* out) noexcept {
  for (; rows-- > 0; x += width, out += width) {
    const float mean = sum(x, width, [](float v) { return v * v; }) / float(width);
    const float inverse = 1.0f / std::sqrt(mean + eps);
    for (size_t i = 0; i < width; ++i) out[i] = x[i] * inverse * weight[i];
  }
}

void layer_norm(const float* x, size_t rows, size_t width, const float* weight, const float* bias,
                float eps, float* out) noexcept {
  for (; rows-- > 0; x += width, out += width) {
    const float mean = sum(x, width, [](float v) { return v; }) / float(width);
    const auto squared = [mean](float v) { return (v - mean) * (v - mean); };
    const float inverse = 1.0f / std::sqrt(sum(x, width, squared) / float(width) + eps);
    for (size_t i = 0; i < width; ++i) out[i] = (x[i] - mean) * inverse * weight[i] + bias[i];
  }
}

float sigmoid_of(float x) { return 1.0f / (1.0f + std::exp(-x)); }

void gelu(const float* x, size_t n, float* out) noexcept {
  for (size_t i = 0; i < n; ++i) out[i] = 0.5f * x[i] * std::erfc(x[i] * -0.70710678118654752f);
}
void quick_gelu(const float* x, size_t n, float* out) noexcept {
  for (size_t i = 0; i < n; ++i) out[i] = x[i] * sigmoid_of(1.702f * x[i]);
}
void silu(const float* x, size_t n, float* out) noexcept {
  for (size_t i = 0; i < n; ++i) out[i] = x[i] * sigmoid_of(x[i]);
}
void tanh(const float* x, size_t n, float* out) noexcept {
  for (size_t i = 0; i < n; ++i) out[i] = std::tanh(x[i]);
}
void sigmoid(const float* x, size_t n, float* out) noexcept {
  for (size_t i = 0; i < n; ++i) out[i] = sigmoid_of(x[i]);
}
float exponentials(const float* x, size_t n, float scale, float* out) noexcept {
  const float most = *std::max_element(x, x + n);
  float sum = 0;
  for (size_t i = 0; i < n; ++i) sum += out[i] = std::exp(scale * (x[i] - most));
  return sum;
}
void swiglu(const float* gate, const float* up, size_t n, float* out) noexcept {
  for (size_t i = 0; i < n; ++i) out[i] = gate[i] * sigmoid_of(gate[i]) * up[i];
}

void rope(const float* x, size_t rows, size_t heads, size_t d, const float* cos, const float* sin,
          float* out) noexcept {
  const size_t half = d / 2;
  for (size_t r = 0; r < rows; ++r, cos += half, sin += half)
    for (size_t h = 0; h < heads; ++h, x += d, out += d)
      for (size_t i = 0; i < half; ++i) {
        const float a = x[i], b = x[i + half];
        out[i] = a * cos[i] - b * sin[i];
        out[i + half] = b * cos[i] + a * sin[i];
      }
}

// Online softmax: what is known of a row after some blocks of keys.
struct Running {
  float largest = -std::numeric_limits<float>::infinity(), total = 0;
  float plain[max_dim] = {}, ghost[max_dim] = {};
};

// Takes in the block of keys [begin, end) of row i.
template <class T>
void take(const AttendArgs& a, int i, int begin, int end, Running& state) {
  const size_t d = size_t(a.head_dim);
  const auto part = [&](const void* const* blocks) {
    return blocks ? static_cast<const T*>(blocks[begin / block]) : nullptr;
  };
  const T *k = part(a.k), *v = part(a.v), *gk = part(a.gk), *gv = part(a.gv);
  float score[block], largest = state.largest;
  for (int j = begin; j < end; ++j) {
    const size_t row = size_t(j - begin) * a.stride;
    float s = dot(a.q[i], k + row, d);
    if (a.gq) s += a.eta * a.eta * dot(a.gq[i], gk + row, d);
    score[j - begin] = a.scale * s;
    largest = std::max(largest, score[j - begin]);
  }
  const float shrink = std::exp(state.largest - largest);
  state.largest = largest;
  state.total *= shrink;
  for (size_t l = 0; l < d; ++l) state.plain[l] *= shrink, state.ghost[l] *= shrink;
  for (int j = begin; j < end; ++j) {
    const float p = std::exp(score[j - begin] - largest);
    const size_t row = size_t(j - begin) * a.stride;
    state.total += p;
    for (size_t l = 0; l < d; ++l) state.plain[l] += p * widen(v[row + l]);
    for (size_t l = 0; gv && l < d; ++l) state.ghost[l] += p * widen(gv[row + l]);
  }
}

template <class T>
void attend_over(const AttendArgs& a) {
  for (int i = 0; i < a.queries; ++i) {
    Running state;
    for (int begin = 0; begin < a.counts[i]; begin += block)
      take<T>(a, i, begin, std::min(begin + block, a.counts[i]), state);
    const float inverse = a.counts[i] > 0 ? 1.0f / state.total : 0.0f;
    for (int l = 0; l < a.head_dim; ++l) {
      a.plain[i][l] = state.plain[l] * inverse;
      if (a.ghost) a.ghost[i][l] = (state.plain[l] + a.eta * state.ghost[l]) * inverse;
    }
  }
}

void attend(const AttendArgs& a) noexcept {
  if (a.type == WeightType::f32) return attend_over<float>(a);
  if (a.type == WeightType::f16) return attend_over<Half>(a);
  attend_over<Brain>(a);
}

float narrow(const float* x, size_t n, WeightType type, void* out) noexcept {
  float top = 0;
  for (size_t i = 0; i < n; ++i) {
    if (type == WeightType::f32) static_cast<float*>(out)[i] = x[i];
    if (type == WeightType::f16) static_cast<Half*>(out)[i].bits = to_f16(x[i]);
    if (type == WeightType::bf16) static_cast<Brain*>(out)[i].bits = to_bf16(x[i]);
    top = std::max(top, std::fabs(x[i]));
  }
  return top;
}

void attend_heads(const float* q, size_t n, const float* k, const float* v, size_t m, size_t d,
                  float* out) noexcept {
  const void *keys[1024 / key_block], *values[1024 / key_block];
  for (size_t b = 0; b * key_block < m; ++b)
    keys[b] = k + b * key_block * d, values[b] = v + b * key_block * d;
  AttendArgs a;
  a.queries = 1, a.head_dim = int(d), a.k = keys, a.v = values, a.stride = d;
  a.scale = 1.0f / std::sqrt(float(d));
  const int count = int(m);
  a.counts = &count, a.q = &q, a.plain = &out;
  for (size_t i = 0; i < n; ++i, q += d, out += d) attend(a);
}

}  // namespace

const Kernels generic_kernels = {
    "generic", 4,       prepare, product,      rms_norm, layer_norm, gelu,   quick_gelu,  silu,
    tanh,      sigmoid, swiglu,  exponentials, rope,     attend,     narrow, attend_heads};

}  // namespace revenant
