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

// A sum of whole numbers over all of K, scaled once.
void product_of_channels(const WeightView& w, const int8_t* x, size_t rows, const float* bias,
                         float* out, size_t out_stride) {
  const size_t panel_bytes = panel_sizes(w.format, w.k).panel;
  for (size_t j = 0; j < w.n; ++j) {
    const auto* panel = static_cast<const std::byte*>(w.data) + j / panel_outputs * panel_bytes;
    const Run run = run_of(w, panel, j % panel_outputs, 0, 1);
    for (size_t r = 0; r < rows; ++r) {
      const int8_t* row = x + r * int8_row_bytes(w.k);
      Int8RowEnd end;
      std::memcpy(&end, row + int8_row_numbers(w.k), sizeof end);
      int dot = 0;
      for (size_t i = 0; i < w.k; ++i)
        dot += (panel_number(w.format, panel, w.k, j % panel_outputs, i).q - 128) * row[i];
      const float product = float(dot) * (run.scale * end.scale);
      out[r * out_stride + j] = bias ? product + bias[j] : product;
    }
  }
}

void product(const WeightView& w, const void* x, size_t rows, const float* bias, float* out,
             size_t out_stride) noexcept {
  const auto* floats = static_cast<const float*>(x);
  if (w.format == Format::f32) return linear_of<float>(w, floats, rows, bias, out, out_stride);
  if (w.format == Format::f16) return linear_of<Half>(w, floats, rows, bias, out, out_stride);
  if (w.format == Format::bf16) return linear_of<Brain>(w, floats, rows, bias, out, out_stride);
  if (w.per_channel)
    return product_of_channels(w, static_cast<const int8_t*>(x), rows, bias, out, out_stride);
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

void quantise_row(const float* x, size_t k, int8_t* out) {
  float most = 0, poison = 0;
  for (size_t i = 0; i < k; ++i) most = std::max(most, std::fabs(x[i])), poison += x[i] - x[i];
  const float inverse = most > least_int8_input ? 127.0f / most : 0.0f;
  Int8RowEnd end{most / 127.0f + poison, 0};
  for (size_t i = 0; i < int8_row_numbers(k); ++i) {
    const float q = i < k ? std::nearbyint(x[i] * inverse) : 0.0f;
    out[i] = int8_t(std::fabs(q) <= 127 ? q : 0);
    end.sum += out[i];
  }
  std::memcpy(out + int8_row_numbers(k), &end, sizeof end);
}

void prepare(Input input, const float* x, size_t rows, size_t k, void* out) noexcept {
  for (size_t r = 0; input == Input::int8_rows && r < rows; ++r)
    quantise_row(x + r * k, k, static_cast<int8_t*>(out) + r * int8_row_bytes(k));
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
float weight_of(float x) { return x < least_weight ? 0.0f : std::exp(x); }

float exponentials(const float* x, size_t n, float scale, float* out) noexcept {
  const float most = *std::max_element(x, x + n);
  float sum = 0;
  for (size_t i = 0; i < n; ++i) sum += out[i] = weight_of(scale * (x[i] - most));
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

float score(const float* q, Format type, const void* block, size_t row, size_t d) {
  float sum = 0;
  for (size_t i = 0; i < d; ++i) sum += q[i] * number_in(block, type, d, BlockOf::keys, row, i);
  return sum;
}

void mix(float p, Format type, const void* block, size_t row, size_t d, float* sum) {
  for (size_t l = 0; l < d; ++l) sum[l] += p * number_in(block, type, d, BlockOf::values, row, l);
}

// Online softmax.
void begin(AttendSums& sums) {
  sums = {};
  sums.largest = -std::numeric_limits<float>::infinity();
}

// Takes in keys [first, end) of row i, of one block.
void take(const AttendArgs& a, int i, size_t first, size_t end, AttendSums& sums) {
  const size_t d = size_t(a.head_dim), b = first / key_block;
  float scores[key_block], largest = sums.largest;
  for (size_t j = 0; j < end - first; ++j) {
    float s = score(a.q[i], a.type, a.k[b], j, d);
    if (a.gq) s += a.eta * a.eta * score(a.gq[i], a.type, a.gk[b], j, d);
    scores[j] = a.scale * s;
    largest = std::max(largest, scores[j]);
  }
  const float shrink = weight_of(sums.largest - largest);
  sums.largest = largest;
  sums.total *= shrink;
  for (size_t l = 0; l < d; ++l) sums.plain[l] *= shrink, sums.ghost[l] *= shrink;
  for (size_t j = 0; j < end - first; ++j) {
    const float p = weight_of(scores[j] - largest);
    sums.total += p;
    mix(p, a.type, a.v[b], j, d, sums.plain);
    if (a.gv) mix(p, a.ghost_type, a.gv[b], j, d, sums.ghost);
  }
}

void join(const AttendSums& part, size_t d, AttendSums& sums) {
  const float largest = std::max(sums.largest, part.largest),
              keep = weight_of(sums.largest - largest), add = weight_of(part.largest - largest);
  sums.largest = largest;
  sums.total = sums.total * keep + part.total * add;
  for (size_t l = 0; l < d; ++l) {
    sums.plain[l] = sums.plain[l] * keep + part.plain[l] * add;
    sums.ghost[l] = sums.ghost[l] * keep + part.ghost[l] * add;
  }
}

size_t keys_of(const AttendArgs& a, int i) { return size_t(std::max(0, a.counts[i])); }

void finish(const AttendArgs& a, int i, const AttendSums& sums) {
  const float inverse = keys_of(a, i) > 0 ? 1.0f / sums.total : 0.0f;
  for (int l = 0; l < a.head_dim; ++l) {
    a.plain[i][l] = sums.plain[l] * inverse;
    if (a.ghost) a.ghost[i][l] = (sums.plain[l] + a.eta * sums.ghost[l]) * inverse;
  }
}

void sum_chunk(const AttendArgs& a, int i, size_t chunk, AttendSums& sums) {
  begin(sums);
  const size_t end = std::min((chunk + 1) * key_chunk, keys_of(a, i));
  for (size_t at = chunk * key_chunk; at < end; at += key_block)
    take(a, i, at, std::min(at + key_block, end), sums);
}

void attend_chunk(const AttendArgs& a, size_t chunk, AttendSums* sums) noexcept {
  for (int i = 0; i < a.queries; ++i) sum_chunk(a, i, chunk, sums[i]);
}

// What becomes of row i, of whose chunks part(chunk) knows the sums.
template <class Part>
void join_chunks(const AttendArgs& a, int i, Part part) {
  AttendSums sums;
  begin(sums);
  for (size_t chunk = 0; chunk * key_chunk < keys_of(a, i); ++chunk)
    join(part(chunk), size_t(a.head_dim), sums);
  finish(a, i, sums);
}

void attend_join(const AttendArgs& a, const AttendSums* all) noexcept {
  for (int i = 0; i < a.queries; ++i)
    join_chunks(a, i, [&](size_t chunk) -> const AttendSums& {
      return all[chunk * size_t(a.queries) + size_t(i)];
    });
}

void attend(const AttendArgs& a) noexcept {
  AttendSums part;
  for (int i = 0; i < a.queries; ++i)
    join_chunks(a, i, [&](size_t chunk) -> const AttendSums& {
      sum_chunk(a, i, chunk, part);
      return part;
    });
}

float remember(const float* x, size_t d, Format type, BlockOf of, size_t at, void* block) noexcept {
  float top = 0;
  for (size_t i = 0; i < d; ++i) {
    const size_t to = of == BlockOf::keys ? i * key_block + at : at * d + i;
    if (type == Format::f32) static_cast<float*>(block)[to] = x[i];
    if (type == Format::f16) static_cast<uint16_t*>(block)[to] = to_f16(x[i]);
    if (type == Format::bf16) static_cast<uint16_t*>(block)[to] = to_bf16(x[i]);
    top = std::max(top, std::fabs(x[i]));
  }
  if (type != Format::q8_0) return top;
  auto* numbers = static_cast<int8_t*>(block);
  auto* scales = reinterpret_cast<uint16_t*>(numbers + key_block * d);
  for (size_t i = 0; i < d; i += scale_run) {
    const Int8Block run = quantised(x + i);
    for (size_t l = i; l < i + scale_run; ++l)
      numbers[of == BlockOf::keys ? l * key_block + at : at * d + l] = run.q[l - i];
    scales[i / scale_run * key_block + at] = to_f16(run.scale);
  }
  return top;
}

void attend_heads(const float* q, size_t n, const float* k, const float* v, size_t m, size_t d,
                  float* out) noexcept {
  float turned[key_block * most_head_dim];
  const void *key = turned, *value;
  const int count = int(m);
  AttendArgs a;
  a.head_dim = int(d), a.k = &key, a.v = &value, a.counts = &count, a.q = &q, a.plain = &out;
  a.scale = 1.0f / std::sqrt(float(d));
  for (size_t i = 0; i < n; ++i, q += d, out += d) {
    AttendSums sums;
    begin(sums);
    for (size_t at = 0; at < m; at += key_block) {
      const size_t seen = std::min(key_block, m - at);
      for (size_t r = 0; r < seen; ++r)
        remember(k + (at + r) * d, d, Format::f32, BlockOf::keys, r, turned);
      value = v + at * d;
      take(a, 0, 0, seen, sums);
    }
    finish(a, 0, sums);
  }
}

}  // namespace

const Kernels generic_kernels = {"generic",    4,           prepare,      product,     rms_norm,
                                 layer_norm,   gelu,        quick_gelu,   silu,        tanh,
                                 sigmoid,      swiglu,      exponentials, rope,        attend,
                                 attend_chunk, attend_join, remember,     attend_heads};

}  // namespace revenant
