// Elementwise loops, norms and the rotation, with own exp, tanh and normal tail: a few units in the
// last place of f32 (tests/kernels), the same on every machine that runs this table.
#pragma once

#include "kernels/text_linear.h"

namespace revenant {
namespace {

inline Vec polynomial(Vec) { return zero(); }
// c0 + c1 x + c2 x^2 + ...
template <class... Rest>
inline Vec polynomial(Vec x, float c0, Rest... rest) {
  if constexpr (sizeof...(rest) == 0)
    return all(c0);
  else
    return fma(polynomial(x, rest...), x, all(c0));
}

// exp(x) = 2^n exp(r), |r| <= ln 2 / 2; ln 2 in two parts, then Taylor's series.
inline Vec exp_of(Vec x) {
  x = greatest(all(-105.0f), least(all(89.0f), x));
  const Vec n = nearest(x * all(1.44269504f));
  const Vec r = fma(n, all(2.12194440e-4f), fma(n, all(-0.693359375f), x));
  const Vec e =
      polynomial(r, 1.0f, 1.0f, 0.5f, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040);
  return times_power_of_two(e, n);
}

// exp(x), x <= 0, and 0 below least_weight.
inline Vec weight_of(Vec x) {
  return if_less(x, all(least_weight), zero(), exp_of(greatest(all(least_weight), x)));
}

inline Vec sigmoid_of(Vec x) { return all(1.0f) / (all(1.0f) + exp_of(zero() - x)); }

// Small x: x + x z P(z), z = x^2 (interpolated at Chebyshev nodes, error 7e-10); else by exp.
inline Vec tanh_of(Vec x) {
  const Vec t = magnitude(x), z = x * x;
  const Vec p = polynomial(z, -0.3333333315f, 0.1333330015f, -0.05395846163f, 0.02176250291f,
                           -0.008323187058f, 0.002269501684f);
  const Vec large = all(1.0f) - all(2.0f) / (exp_of(t + t) + all(1.0f));
  return if_less(t, all(0.625f), fma(p * z, x, x), with_sign(large, x));
}

// x Phi(x). Phi(-t) = exp(-t^2 / 2) P(q) / (1 + sqrt(2) t), q = (t - 4) / (t + 4), t <= 15: P by
// interpolation at Chebyshev nodes, error 4e-9; t^2's rounding error e enters as 1 - e / 2.
inline Vec gelu_of(Vec x) {
  const Vec t = least(all(15.0f), magnitude(x)), s = t * t, e = fma(t, t, zero() - s);
  const Vec q = (t - all(4.0f)) / (t + all(4.0f));
  const Vec p = polynomial(q, 0.6284778785f, -0.06617830503f, -0.03172109372f, 0.07014860956f,
                           -0.05831933687f, 0.028888918f, -0.007282972783f, -0.0006927167013f,
                           0.00104877022f, -7.159039563e-5f, -0.0001083319906f);
  const Vec scaled = fma(e, all(-0.5f), all(1.0f)) * p / fma(t, all(1.41421356f), all(1.0f));
  const Vec tail = exp_of(s * all(-0.5f)) * scaled;
  return x * if_less(x, zero(), tail, all(1.0f) - tail);
}

template <class F>
inline void map(const float* x, size_t n, float* out, F f) {
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) store(out + i, f(load(x + i)));
  if (i < n) store_some(out + i, n - i, f(load_some(x + i, n - i)));
}

template <class F>
inline void map(const float* x, const float* y, size_t n, float* out, F f) {
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) store(out + i, f(load(x + i), load(y + i)));
  if (i < n) store_some(out + i, n - i, f(load_some(x + i, n - i), load_some(y + i, n - i)));
}

void gelu(const float* x, size_t n, float* out) noexcept { map(x, n, out, gelu_of); }
void quick_gelu(const float* x, size_t n, float* out) noexcept {
  map(x, n, out, [](Vec v) { return v * sigmoid_of(all(1.702f) * v); });
}
void silu(const float* x, size_t n, float* out) noexcept {
  map(x, n, out, [](Vec v) { return v * sigmoid_of(v); });
}
void tanh(const float* x, size_t n, float* out) noexcept { map(x, n, out, tanh_of); }
void sigmoid(const float* x, size_t n, float* out) noexcept { map(x, n, out, sigmoid_of); }
void swiglu(const float* gate, const float* up, size_t n, float* out) noexcept {
  map(gate, up, n, out, [](Vec g, Vec u) { return g * sigmoid_of(g) * u; });
}

// The sum over i of f(x[i], sum so far): four vector sums by turns, then one tree. What f makes of
// the lanes after the end is left out.
template <class F>
inline float sum_over(const float* x, size_t n, F f) {
  Vec s[4] = {zero(), zero(), zero(), zero()};
  size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes)
    for (size_t l = 0; l < 4; ++l) s[l] = f(load(x + i + l * lanes), s[l]);
  for (size_t l = 0; i + lanes <= n; i += lanes, ++l) s[l] = f(load(x + i), s[l]);
  float rest = 0;
  if (i < n) {
    float values[lanes] = {};
    store_some(values, n - i, f(load_some(x + i, n - i), zero()));
    rest = sum(load(values));
  }
  return sum((s[0] + s[1]) + (s[2] + s[3])) + rest;
}

float exponentials(const float* x, size_t n, float scale, float* out) noexcept {
  Vec top = all(x[0]);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) top = greatest(top, load(x + i));
  float most = largest(top);
  for (; i < n; ++i) most = x[i] > most ? x[i] : most;
  const Vec of = all(scale), shift = all(most);
  map(x, n, out, [=](Vec v) { return weight_of(of * (v - shift)); });
  return sum_over(out, n, [](Vec v, Vec s) { return s + v; });
}

inline float inverse_root(float x) { return 1.0f / __builtin_sqrtf(x); }

void rms_norm(const float* x, size_t rows, size_t width, const float* weight, float eps,
              float* out) noexcept {
  for (; rows-- > 0; x += width, out += width) {
    const float squares = sum_over(x, width, [](Vec v, Vec s) { return fma(v, v, s); });
    const Vec inverse = all(inverse_root(squares / float(width) + eps));
    map(x, weight, width, out, [=](Vec v, Vec w) { return v * inverse * w; });
  }
}

void layer_norm(const float* x, size_t rows, size_t width, const float* weight, const float* bias,
                float eps, float* out) noexcept {
  for (; rows-- > 0; x += width, out += width) {
    const float mean = sum_over(x, width, [](Vec v, Vec s) { return s + v; }) / float(width);
    const Vec middle = all(mean);
    const float squares =
        sum_over(x, width, [=](Vec v, Vec s) { return fma(v - middle, v - middle, s); });
    const Vec inverse = all(inverse_root(squares / float(width) + eps));
    const auto scale = [=](Vec v, Vec w, Vec b) { return fma((v - middle) * inverse, w, b); };
    size_t i = 0;
    for (; i + lanes <= width; i += lanes)
      store(out + i, scale(load(x + i), load(weight + i), load(bias + i)));
    if (const size_t n = width - i)
      store_some(out + i, n,
                 scale(load_some(x + i, n), load_some(weight + i, n), load_some(bias + i, n)));
  }
}

template <class T>
inline float narrow_to(const float* x, size_t n, T* out) {
  Vec top = zero();
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const Vec v = load(x + i);
    top = greatest(top, magnitude(v));
    store(out + i, v);
  }
  if (i < n) {
    const Vec v = load_some(x + i, n - i);
    top = greatest(top, magnitude(v));
    store_some(out + i, n - i, v);
  }
  return largest(top);
}

// Rotates the pairs (x[i], x[i + half]), n <= lanes of them, read before anything is written.
template <class Load, class Store>
inline void rotate(const float* x, size_t half, const float* cos, const float* sin, float* out,
                   Load get, Store put) {
  const Vec a = get(x), b = get(x + half), c = get(cos), s = get(sin);
  put(out, fma(a, c, zero() - b * s));
  put(out + half, fma(b, c, a * s));
}

void rope(const float* x, size_t rows, size_t heads, size_t d, const float* cos, const float* sin,
          float* out) noexcept {
  const size_t half = d / 2, tail = half % lanes, whole = half - tail;
  const auto get = [](const float* p) { return load(p); };
  const auto put = [](float* p, Vec v) { store(p, v); };
  const auto get_tail = [=](const float* p) { return load_some(p, tail); };
  const auto put_tail = [=](float* p, Vec v) { store_some(p, tail, v); };
  for (size_t r = 0; r < rows; ++r, cos += half, sin += half)
    for (size_t h = 0; h < heads; ++h, x += d, out += d) {
      for (size_t i = 0; i < whole; i += lanes)
        rotate(x + i, half, cos + i, sin + i, out + i, get, put);
      if (tail) rotate(x + whole, half, cos + whole, sin + whole, out + whole, get_tail, put_tail);
    }
}

}  // namespace
}  // namespace revenant
