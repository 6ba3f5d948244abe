#include "train/ops.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/kernels.h"
#include "train/device.h"
#include "train/each_isa.h"

namespace revenant {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;
constexpr int64_t kGrain = 64;  // rows a thread takes at least

// Contiguous, and float32 where autocast made it bf16.
Tensor plain(const Tensor& x) {
  return (x.scalar_type() == torch::kBFloat16 ? x.to(torch::kFloat32) : x).contiguous();
}

template <class T>
INTO_EACH T dot(const T* a, const T* b, int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

template <class T>
INTO_EACH void add_scaled(T* to, T factor, const T* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] += factor * x[i];
}

// y = x r w, r = 1 / sqrt(mean x^2 + eps)
template <class T>
INTO_EACH void norm_rows(const T* x, const T* w, T eps, int64_t rows, int64_t h, T* y, T* r) {
  for (int64_t i = 0; i < rows; ++i, x += h, y += h) {
    r[i] = 1 / std::sqrt(dot(x, x, h) / T(h) + eps);
    const T scale = r[i];
#pragma omp simd
    for (int64_t j = 0; j < h; ++j) y[j] = x[j] * scale * w[j];
  }
}

// dx = r (g w - x r^2 mean(g w x)), dw += g x r
template <class T>
INTO_EACH void norm_rows_back(const T* x, const T* w, const T* r, const T* g, int64_t rows,
                              int64_t h, T* dx, T* dw) {
  for (int64_t i = 0; i < rows; ++i, x += h, g += h, dx += h) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < h; ++j) sum += g[j] * w[j] * x[j];
    const T scale = r[i], pull = sum * scale * scale / T(h);
#pragma omp simd
    for (int64_t j = 0; j < h; ++j) {
      dx[j] = scale * (g[j] * w[j] - x[j] * pull);
      dw[j] += g[j] * x[j] * scale;
    }
  }
}

// `sign` -1 turns back.
template <class T>
INTO_EACH void rotate(const T* x, const T* cos, const T* sin, T sign, int64_t rows, int64_t n,
                      int64_t half, T* y) {
  for (int64_t r = 0; r < rows; ++r, cos += half, sin += half)
    for (int64_t i = 0; i < n; ++i, x += 2 * half, y += 2 * half) {
#pragma omp simd
      for (int64_t j = 0; j < half; ++j) {
        const T a = x[j], b = x[j + half], s = sign * sin[j];
        y[j] = a * cos[j] - b * s;
        y[j + half] = b * cos[j] + a * s;
      }
    }
}

// The heads of one span: rows of q against one k, v.
struct Heads {
  int64_t n, m, d;
};

template <class T>
INTO_EACH void attend_span(const T* q, const T* k, const T* v, int64_t rows, Heads s, T* o, T* p) {
  const T scale = 1 / std::sqrt(T(s.d));
  for (int64_t i = 0; i < rows * s.n; ++i, q += s.d, o += s.d, p += s.m) {
    T most = 0, sum = 0;
    for (int64_t j = 0; j < s.m; ++j) {
      p[j] = dot(q, k + j * s.d, s.d) * scale;
      most = j == 0 ? p[j] : std::max(most, p[j]);
    }
    for (int64_t j = 0; j < s.m; ++j) sum += p[j] = std::exp(p[j] - most);
    std::fill(o, o + s.d, T(0));
    for (int64_t j = 0; j < s.m; ++j) add_scaled(o, p[j] /= sum, v + j * s.d, s.d);
  }
}

template <class T>
INTO_EACH void attend_span_back(const T* q, const T* k, const T* v, const T* p, const T* g,
                                int64_t rows, Heads s, T* dq, T* dk, T* dv) {
  const T scale = 1 / std::sqrt(T(s.d));
  std::vector<T> dp(static_cast<size_t>(s.m));
  for (int64_t i = 0; i < rows * s.n; ++i, q += s.d, g += s.d, dq += s.d, p += s.m) {
    T mean = 0;
    for (int64_t j = 0; j < s.m; ++j) {
      dp[size_t(j)] = dot(g, v + j * s.d, s.d);
      mean += p[j] * dp[size_t(j)];
    }
    std::fill(dq, dq + s.d, T(0));
    for (int64_t j = 0; j < s.m; ++j) {
      const T ds = p[j] * (dp[size_t(j)] - mean) * scale;
      add_scaled(dq, ds, k + j * s.d, s.d);
      add_scaled(dk + j * s.d, ds, q, s.d);
      add_scaled(dv + j * s.d, p[j], g, s.d);
    }
  }
}

// s = sigmoid(gate): dgate = g up s (1 + gate (1 - s)), over s; dup = g gate s.
template <class T>
INTO_EACH void silu_back(const T* gate, const T* up, const T* g, int64_t n, T* s, T* dup) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    dup[i] = g[i] * gate[i] * s[i];
    s[i] = g[i] * up[i] * s[i] * (1 + gate[i] * (1 - s[i]));
  }
}

// target_clones takes no templates: one pair of names a loop.
// NOLINTBEGIN(bugprone-macro-parentheses): T is a type.
#define FOR_BOTH(T)                                                                              \
  EACH_ISA void run_norm(const T* x, const T* w, T eps, int64_t rows, int64_t h, T* y, T* r) {   \
    norm_rows(x, w, eps, rows, h, y, r);                                                         \
  }                                                                                              \
  EACH_ISA void run_norm_back(const T* x, const T* w, const T* r, const T* g, int64_t rows,      \
                              int64_t h, T* dx, T* dw) {                                         \
    norm_rows_back(x, w, r, g, rows, h, dx, dw);                                                 \
  }                                                                                              \
  EACH_ISA void run_rotate(const T* x, const T* cos, const T* sin, T sign, int64_t rows,         \
                           int64_t n, int64_t half, T* y) {                                      \
    rotate(x, cos, sin, sign, rows, n, half, y);                                                 \
  }                                                                                              \
  EACH_ISA void run_attend(const T* q, const T* k, const T* v, int64_t rows, Heads s, T* o,      \
                           T* p) {                                                               \
    attend_span(q, k, v, rows, s, o, p);                                                         \
  }                                                                                              \
  EACH_ISA void run_attend_back(const T* q, const T* k, const T* v, const T* p, const T* g,      \
                                int64_t rows, Heads s, T* dq, T* dk, T* dv) {                    \
    attend_span_back(q, k, v, p, g, rows, s, dq, dk, dv);                                        \
  }                                                                                              \
  EACH_ISA void run_silu_back(const T* gate, const T* up, const T* g, int64_t n, T* s, T* dup) { \
    silu_back(gate, up, g, n, s, dup);                                                           \
  }
FOR_BOTH(float)
FOR_BOTH(double)
#undef FOR_BOTH
// NOLINTEND(bugprone-macro-parentheses)

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& w, double eps) {
    const Tensor y = torch::empty_like(x), r = torch::empty({x.size(0)}, x.options());
    const int64_t h = x.size(1);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm_rows", [&] {
      at::parallel_for(0, x.size(0), kGrain, [&](int64_t begin, int64_t end) {
        run_norm(x.const_data_ptr<scalar_t>() + begin * h, w.const_data_ptr<scalar_t>(),
                 scalar_t(eps), end - begin, h, y.data_ptr<scalar_t>() + begin * h,
                 r.data_ptr<scalar_t>() + begin);
      });
    });
    context->save_for_backward({x, w, r});
    return y;
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &w = saved[1], &r = saved[2], g = gradients[0].contiguous();
    const Tensor dx = torch::empty_like(x), dw = torch::zeros_like(w);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm_rows", [&] {
      run_norm_back(x.const_data_ptr<scalar_t>(), w.const_data_ptr<scalar_t>(),
                    r.const_data_ptr<scalar_t>(), g.const_data_ptr<scalar_t>(), x.size(0),
                    x.size(1), dx.data_ptr<scalar_t>(), dw.data_ptr<scalar_t>());
    });
    return {dx, dw, Tensor()};
  }
};

Tensor rotated(const Tensor& x, const Tensor& cos, const Tensor& sin, int sign) {
  const Tensor y = torch::empty_like(x);
  const int64_t n = x.size(1), half = x.size(2) / 2;
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rotate_rows", [&] {
    at::parallel_for(0, x.size(0), kGrain, [&](int64_t begin, int64_t end) {
      run_rotate(x.const_data_ptr<scalar_t>() + begin * n * 2 * half,
                 cos.const_data_ptr<scalar_t>() + begin * half,
                 sin.const_data_ptr<scalar_t>() + begin * half, scalar_t(sign), end - begin, n,
                 half, y.data_ptr<scalar_t>() + begin * n * 2 * half);
    });
  });
  return y;
}

struct Rotate : torch::autograd::Function<Rotate> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& cos,
                        const Tensor& sin) {
    context->save_for_backward({cos, sin});
    return rotated(x, cos, sin, 1);
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    return {rotated(gradients[0].contiguous(), saved[0], saved[1], -1), Tensor(), Tensor()};
  }
};

// body(span, first row, rows)
template <class Body>
void each_span(const Tensor& first, int64_t rows, const Body& body) {
  const int64_t* starts = first.const_data_ptr<int64_t>();
  const int64_t spans = first.size(0);
  at::parallel_for(0, spans, 1, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s)
      body(s, starts[s], (s + 1 < spans ? starts[s + 1] : rows) - starts[s]);
  });
}

struct AttendFirstHeads : torch::autograd::Function<AttendFirstHeads> {
  static Tensor forward(AutogradContext* context, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& first) {
    const Heads s{q.size(1), k.size(1), q.size(2)};
    const Tensor o = torch::empty_like(q), p = torch::empty({q.size(0), s.n, s.m}, q.options());
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "attend_first_heads", [&] {
      each_span(first, q.size(0), [&](int64_t span, int64_t row, int64_t rows) {
        run_attend(q.const_data_ptr<scalar_t>() + row * s.n * s.d,
                   k.const_data_ptr<scalar_t>() + span * s.m * s.d,
                   v.const_data_ptr<scalar_t>() + span * s.m * s.d, rows, s,
                   o.data_ptr<scalar_t>() + row * s.n * s.d,
                   p.data_ptr<scalar_t>() + row * s.n * s.m);
      });
    });
    context->save_for_backward({q, k, v, p, first});
    return o;
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &p = saved[3], &first = saved[4];
    const Tensor g = gradients[0].contiguous();
    const Heads s{q.size(1), k.size(1), q.size(2)};
    const Tensor dq = torch::empty_like(q), dk = torch::zeros_like(k), dv = torch::zeros_like(v);
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "attend_first_heads", [&] {
      each_span(first, q.size(0), [&](int64_t span, int64_t row, int64_t rows) {
        const int64_t at = row * s.n * s.d, to = span * s.m * s.d;
        run_attend_back(q.const_data_ptr<scalar_t>() + at, k.const_data_ptr<scalar_t>() + to,
                        v.const_data_ptr<scalar_t>() + to,
                        p.const_data_ptr<scalar_t>() + row * s.n * s.m,
                        g.const_data_ptr<scalar_t>() + at, rows, s, dq.data_ptr<scalar_t>() + at,
                        dk.data_ptr<scalar_t>() + to, dv.data_ptr<scalar_t>() + to);
      });
    });
    return {dq, dk, dv, Tensor()};
  }
};

struct SiluTimes : torch::autograd::Function<SiluTimes> {
  static Tensor forward(AutogradContext* context, const Tensor& gate, const Tensor& up) {
    context->save_for_backward({gate, up});
    if (gate.scalar_type() != torch::kFloat32) return composed::silu_times(gate, up);
    const Tensor y = torch::empty_like(gate);
    at::parallel_for(0, gate.numel(), kGrain * 64, [&](int64_t begin, int64_t end) {
      kernels().swiglu(gate.const_data_ptr<float>() + begin, up.const_data_ptr<float>() + begin,
                       size_t(end - begin), y.data_ptr<float>() + begin);
    });
    return y;
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &gate = saved[0], &up = saved[1], g = gradients[0].contiguous();
    const Tensor s = torch::sigmoid(gate), dup = torch::empty_like(up);
    AT_DISPATCH_FLOATING_TYPES(gate.scalar_type(), "silu_times", [&] {
      at::parallel_for(0, gate.numel(), kGrain * 64, [&](int64_t begin, int64_t end) {
        run_silu_back(gate.const_data_ptr<scalar_t>() + begin,
                      up.const_data_ptr<scalar_t>() + begin, g.const_data_ptr<scalar_t>() + begin,
                      end - begin, s.data_ptr<scalar_t>() + begin,
                      dup.data_ptr<scalar_t>() + begin);
      });
    });
    return {s, dup};
  }
};

}  // namespace

Tensor silu_times(const Tensor& gate, const Tensor& up) {
  if (!gate.is_cpu()) return composed::silu_times(gate, up);
  return SiluTimes::apply(plain(gate), plain(up));
}

Tensor rms_norm_rows(const Tensor& x, const Tensor& weight, double eps) {
  if (!x.is_cpu()) return composed::rms_norm_rows(plain(x), plain(weight), eps);
  return RmsNorm::apply(plain(x), plain(weight), eps);
}

Tensor rotate_rows(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  if (!x.is_cpu()) return composed::rotate_rows(plain(x), cos, sin);
  return Rotate::apply(plain(x), plain(cos), plain(sin));
}

Tensor attend_first_heads(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& first) {
  if (!q.is_cpu()) return composed::attend_first_heads(plain(q), plain(k), plain(v), first);
  return AttendFirstHeads::apply(plain(q), plain(k), plain(v), first);
}

namespace composed {

Tensor silu_times(const Tensor& gate, const Tensor& up) { return torch::silu(gate) * up; }

Tensor rms_norm_rows(const Tensor& x, const Tensor& weight, double eps) {
  return x * torch::rsqrt(x.square().mean(-1, true) + eps) * weight;
}

Tensor rotate_rows(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const std::vector<Tensor> half = x.chunk(2, -1);
  return torch::cat({half[0] * cos - half[1] * sin, half[1] * cos + half[0] * sin}, -1);
}

Tensor attend_first_heads(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& first) {
  const NoAutocast no_autocast;
  const Tensor row = torch::arange(q.size(0), first.options());
  const Tensor span = torch::bucketize(row, first, /*out_int32=*/false, /*right=*/true) - 1;
  const auto of_row = [&](const Tensor& x) { return x.index_select(0, span); };
  const Tensor scores = torch::bmm(q, of_row(k).transpose(1, 2)) / std::sqrt(double(q.size(2)));
  return torch::bmm(torch::softmax(scores, -1), of_row(v));
}

}  // namespace composed

}  // namespace revenant
