// The plain verbs; executor_attend.cc has attention and executor_tower.cc what only towers use.
#include "native/executor.h"

#include <cstring>
#include <map>

#include "base/error.h"

namespace revenant {
namespace {

// Outputs that one thread computes at a time: whole tiles of every instruction set's kernels.
constexpr size_t outputs_together = 32;

size_t padded(int rows) {
  return (size_t(rows) + outputs_together - 1) / outputs_together * outputs_together;
}

bool same_shape(const Tensor& x, const Tensor& y) {
  return x.rows == y.rows && x.heads == y.heads && x.width == y.width;
}

Input input_of(const Linear<Weight>& w) { return w.weight.packed.view(0, 1).input(); }

}  // namespace

// A product that is one of several in a job: outputs [first, end) of the job are its.
struct Executor::Term {
  const Packed& w;
  const float* bias;
  const void* x;  // as the format's product reads it
  size_t x_row;   // its bytes a row
  float* out = nullptr;
  size_t first = 0, end = 0;

  Term(const Kernels& kernels, const Linear<Weight>& linear, const void* prepared)
      : w(linear.weight.packed),
        bias(linear.bias.vector.data()),
        x(prepared),
        x_row(prepared_bytes(kernels, input_of(linear), size_t(w.columns))) {}

  // Rows [r, r + rows) of outputs [at, stop), the first of them to `to`; rows of a fused weight
  // stand in blocks.
  void columns(const Kernels& kernels, size_t r, size_t rows, size_t at, size_t stop, float* to,
               size_t stride) const {
    while (at < stop) {
      const WeightView view = w.view(at, stop);
      kernels.product(view, static_cast<const std::byte*>(x) + r * x_row, rows,
                      bias ? bias + at : nullptr, to, stride);
      at += view.n, to += view.n;
    }
  }
  void columns(const Kernels& kernels, size_t r, size_t rows, size_t at, size_t stop) const {
    const size_t n = size_t(w.rows);
    columns(kernels, r, rows, at, stop, out + r * n + at, n);
  }
};

Tensor Executor::embed(const Weight& table, std::span<const int> ids) {
  Tensor out(int(ids.size()), 1, table.packed.columns);
  for (size_t r = 0; r < ids.size(); ++r) {
    CHECK(ids[r] >= 0 && ids[r] < table.packed.rows);
    table.packed.unpack_row(ids[r], out.row(int(r)));
  }
  return out;
}

Tensor Executor::place(const Tensor& x, const Tensor& features, const Step& step) {
  CHECK(x.row_size() == features.row_size() && x.rows == step.rows);
  Tensor out(x.rows, x.heads, x.width);
  const size_t bytes = x.row_size() * sizeof(float);
  int used = 0;
  for (int r = 0; r < x.rows; ++r) {
    const bool picture = step.picture[size_t(r)];
    CHECK(!picture || used < features.rows);
    std::memcpy(out.row(r), picture ? features.row(used++) : x.row(r), bytes);
  }
  CHECK(used == features.rows);
  return out;
}

Tensor Executor::prepared(Input input, const Tensor& x) {
  if (input == Input::f32) return x;
  const size_t rows = size_t(x.rows) * size_t(x.heads), k = size_t(x.width);
  const size_t row = prepared_bytes(k_, input, k);
  Tensor out(int(rows), 1, int((row + sizeof(float) - 1) / sizeof(float)));
  threads_.parallel_for(rows, grain_for(4 * k), [&](size_t begin, size_t end) {
    k_.prepare(input, x.data() + begin * k, end - begin, k,
               reinterpret_cast<std::byte*>(out.data()) + begin * row);
  });
  return out;
}

// The product of a few rows, on the thread that asks.
void Executor::alone(const Linear<Weight>& w, const float* x, size_t rows, float* out) const {
  const size_t n = size_t(w.weight.packed.rows), k = size_t(w.weight.packed.columns);
  const Input input = input_of(w);
  std::vector<std::byte> ready;
  if (input != Input::f32) {
    ready.resize(rows * prepared_bytes(k_, input, k));
    k_.prepare(input, x, rows, k, ready.data());
  }
  const void* const read = ready.empty() ? static_cast<const void*>(x) : ready.data();
  Term(k_, w, read).columns(k_, 0, rows, 0, n, out, n);
}

// One job over the outputs of all.
void Executor::products(std::span<const Term> terms, size_t rows) {
  const size_t k = size_t(terms[0].w.columns), tile = outputs_together;
  in_parts(terms.back().end / tile, tile * rows * k, [&](size_t b, size_t e) {
    for (const Term& p : terms) {
      const size_t begin = std::max(b * tile, p.first), end = std::min(e * tile, p.end);
      if (begin < end)
        p.columns(k_, 0, rows, begin - p.first, std::min(end - p.first, size_t(p.w.rows)));
    }
  });
}

// One x through several weights: prepared once for each way that they read it.
void Executor::linears(std::span<const Linear<Weight>* const> w, const Tensor& x, const Step* step,
                       std::span<Tensor> out) {
  const size_t rows = size_t(x.rows) * size_t(x.heads), k = size_t(x.width);
  std::map<Input, Tensor> inputs;
  std::vector<Term> terms;
  size_t outputs = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const Packed& weight = w[i]->weight.packed;
    CHECK(x.width == weight.columns);
    if (observer_) observer_->product(weight, x);
    const Input input = input_of(*w[i]);
    if (!inputs.contains(input)) inputs[input] = prepared(input, x);
    out[i] = Tensor(x.rows, x.heads, weight.rows);
    Term& term = terms.emplace_back(k_, *w[i], inputs[input].data());
    term.out = out[i].data();
    term.first = outputs, term.end = outputs += padded(weight.rows);
  }
  if (rows == 0) return;
  if (w.size() == 1 && rows >= 4 * size_t(out[0].width)) {
    // Many short rows: the mixers, which all heads share.
    in_parts(rows, outputs * k, [&](size_t begin, size_t end) {
      terms[0].columns(k_, begin, end - begin, 0, size_t(out[0].width));
    });
  } else {
    products(terms, rows);
  }
  for (size_t i = 0; i < w.size(); ++i)
    if (step && w[i]->lora_a) add_picture_branch(*w[i], x, *step, out[i]);
}

Tensor Executor::linear(const Linear<Weight>& w, const Tensor& x, const Step* step) {
  return linears<1>({&w}, x, step)[0];
}

// TroL-1.8B/7B: picture rows get a low-rank addition; the other rows are not even computed.
void Executor::add_picture_branch(const Linear<Weight>& w, const Tensor& x, const Step& step,
                                  Tensor& out) {
  CHECK(x.heads == 1 && x.rows == step.rows);
  std::vector<int> rows;
  for (int r = 0; r < step.rows; ++r)
    if (step.picture[size_t(r)]) rows.push_back(r);
  if (rows.empty()) return;
  const Tensor low = linear({w.lora_a, {}, {}, {}}, take(x, rows));
  const Tensor high = linear({w.lora_b, {}, {}, {}}, low);
  for (size_t i = 0; i < rows.size(); ++i)
    for (int j = 0; j < out.width; ++j) out.row(rows[i])[j] += high.row(int(i))[j];
}

Tensor Executor::swiglu(const MlpWeights<Weight>& w, const Tensor& x, const Step& step) {
  if (!observer_ && !w.gate.lora_a && !w.up.lora_a && !w.down.lora_a) {
    Tensor out(x.rows, 1, w.down.weight.packed.rows);
    if (x.rows == 0) return out;
    const Tensor between = gated(w, x);
    Term down(k_, w.down, between.data());
    down.out = out.data(), down.end = padded(out.width);
    products({&down, 1}, size_t(x.rows));
    return out;
  }
  const auto both = linears<2>({&w.gate, &w.up}, x, &step);
  const Tensor &gate = both[0], &up = both[1];
  Tensor product(gate.rows, 1, gate.width);
  threads_.parallel_for(size_t(gate.rows), grain_for(size_t(gate.width) * 8),
                        [&](size_t begin, size_t end) {
                          const size_t at = begin * gate.row_size();
                          k_.swiglu(gate.data() + at, up.data() + at,
                                    (end - begin) * gate.row_size(), product.data() + at);
                        });
  return linear(w.down, product, &step);
}

// silu(gate x) up x as `down` reads it. Some rows and outputs at a time, so that gate and up stay
// in a thread's second cache: 2 x 512 x 128 floats are 512 KB.
Tensor Executor::gated(const MlpWeights<Weight>& w, const Tensor& x) {
  constexpr size_t most_rows = 512, most_numbers = most_rows * 4 * outputs_together;
  const size_t rows = size_t(x.rows), k = size_t(x.width), n = size_t(w.up.weight.packed.rows);
  CHECK(x.width == w.gate.weight.packed.columns && x.width == w.up.weight.packed.columns);
  CHECK(!w.down.weight.packed.per_channel);  // its inputs are made piece by piece
  const Input input = input_of(w.gate), other = input_of(w.up), next = input_of(w.down);
  const Tensor read = prepared(input, x), also = other == input ? read : prepared(other, x);
  const Term gate(k_, w.gate, read.data()), up(k_, w.up, also.data());
  const size_t row = prepared_bytes(k_, next, n), high = std::min(rows, most_rows),
               wide = most_numbers / high / outputs_together * outputs_together;
  Tensor out(x.rows, 1, int((row + sizeof(float) - 1) / sizeof(float)));
  auto* const bytes = reinterpret_cast<std::byte*>(out.data());
  const auto some = [&](size_t r, size_t count, size_t at, size_t stop, float* g, float* u) {
    const size_t width = stop - at;
    gate.columns(k_, r, count, at, stop, g, width);
    up.columns(k_, r, count, at, stop, u, width);
    for (size_t i = 0; i < count; ++i, g += width, u += width) {
      std::byte* const to = bytes + (r + i) * row + prepared_bytes(k_, next, at);
      k_.swiglu(g, u, width, next == Input::f32 ? reinterpret_cast<float*>(to) : g);
      if (next != Input::f32) k_.prepare(next, g, 1, width, to);
    }
  };
  const size_t tile = outputs_together;
  in_parts(padded(int(n)) / tile, 2 * tile * rows * k, [&](size_t b, size_t e) {
    const size_t end = std::min(e * tile, n);
    Tensor room(2, 1, int(high * std::min(wide, end - b * tile)));
    for (size_t r = 0; r < rows; r += high)
      for (size_t at = b * tile; at < end; at += wide)
        some(r, std::min(high, rows - r), at, std::min(at + wide, end), room.row(0), room.row(1));
  });
  return out;
}

Tensor Executor::rms_norm(const Tensor& x, const Norm<Weight>& norm) {
  CHECK(x.width == norm.weight.vector.rows);
  Tensor out(x.rows, x.heads, x.width);
  const size_t w = size_t(x.width);
  threads_.parallel_for(size_t(x.rows) * size_t(x.heads), grain_for(w), [&](size_t b, size_t e) {
    k_.rms_norm(x.data() + b * w, e - b, w, norm.weight.vector.data(), float(norm.eps),
                out.data() + b * w);
  });
  return out;
}

Tensor Executor::layer_norm(const Tensor& x, const Norm<Weight>& norm) {
  CHECK(x.width == norm.weight.vector.rows);
  Tensor out(x.rows, x.heads, x.width);
  const size_t w = size_t(x.width);
  threads_.parallel_for(size_t(x.rows) * size_t(x.heads), grain_for(w), [&](size_t b, size_t e) {
    k_.layer_norm(x.data() + b * w, e - b, w, norm.weight.vector.data(), norm.bias.vector.data(),
                  float(norm.eps), out.data() + b * w);
  });
  return out;
}

Tensor Executor::take(const Tensor& x, std::span<const int> rows) {
  Tensor out(int(rows.size()), x.heads, x.width);
  for (size_t i = 0; i < rows.size(); ++i)
    std::memcpy(out.row(int(i)), x.row(rows[i]), x.row_size() * sizeof(float));
  return out;
}

Tensor Executor::put(const Tensor& x, std::span<const int> rows, const Tensor& values) {
  Tensor out = Tensor::from(x.data(), x.rows, int(x.row_size()));
  for (size_t i = 0; i < rows.size(); ++i)
    std::memcpy(out.row(rows[i]), values.row(int(i)), x.row_size() * sizeof(float));
  return out;
}

Executor::Part Executor::part_of(const Step& step, std::span<const int> rows) const {
  Part part{{rows.begin(), rows.end()}, {}};
  part.step.rows = int(rows.size());
  for (const int row : rows) part.step.picture.push_back(step.picture[size_t(row)]);
  return part;
}

// Rows that a pass may change: all, where somebody looks on.
std::vector<int> Executor::passing(const Tensor& gate, const Step& step, bool last) const {
  std::vector<int> rows;
  for (int r = 0; r < gate.rows; ++r) {
    const bool wanted = !last || !step.asked || std::ranges::binary_search(*step.asked, r);
    if (observer_ || (wanted && *gate.row(r) != 0)) rows.push_back(r);
  }
  return rows;
}

Executor::Later Executor::later_part(const Step& step) const {
  Later later;
  if (step.asked) later.step.asked.emplace();
  for (const Span& span : step.spans) {
    if (!traverses(c_.trol, span)) continue;
    const auto picture = step.picture.begin() + span.first_row;
    later.step.add(span.sequence, span.start, span.rows, span.rope_length, span.prompt,
                   {picture, picture + span.rows});
    for (int r = span.first_row; r < span.first_row + span.rows; ++r) {
      if (step.asked && std::ranges::binary_search(*step.asked, r))
        later.step.asked->push_back(int(later.rows.size()));
      later.rows.push_back(r);
    }
  }
  return later;
}

Tensor Executor::map(const Tensor& x, Map fn) {
  Tensor out(x.rows, x.heads, x.width);
  const size_t row = x.row_size();
  threads_.parallel_for(size_t(x.rows), grain_for(row * 8), [&](size_t begin, size_t end) {
    fn(x.data() + begin * row, (end - begin) * row, out.data() + begin * row);
  });
  return out;
}

// out[i] = fn(i), i over all elements of x's shape.
template <class F>
Tensor Executor::each(const Tensor& x, const F& fn) {
  Tensor out(x.rows, x.heads, x.width);
  float* o = out.data();
  threads_.parallel_for(x.size(), least_work, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) o[i] = fn(i);
  });
  return out;
}

// out[line, j] = fn(line, line * width + j, j), a line being one head of one row.
template <class F>
Tensor Executor::each_line(const Tensor& x, const F& fn) {
  Tensor out(x.rows, x.heads, x.width);
  float* o = out.data();
  const size_t lines = size_t(x.rows) * size_t(x.heads), width = size_t(x.width);
  threads_.parallel_for(lines, grain_for(width), [&](size_t begin, size_t end) {
    for (size_t line = begin; line < end; ++line)
      for (size_t j = 0; j < width; ++j) o[line * width + j] = fn(line, line * width + j, j);
  });
  return out;
}

Tensor Executor::add(const Tensor& x, const Tensor& y) {
  CHECK(same_shape(x, y));
  const float *a = x.data(), *b = y.data();
  return each(x, [=](size_t i) { return a[i] + b[i]; });
}

Tensor Executor::sub(const Tensor& x, const Tensor& y) {
  CHECK(same_shape(x, y));
  const float *a = x.data(), *b = y.data();
  return each(x, [=](size_t i) { return a[i] - b[i]; });
}

Tensor Executor::mul(const Tensor& x, const Tensor& y) {
  CHECK(same_shape(x, y));
  const float *a = x.data(), *b = y.data();
  return each(x, [=](size_t i) { return a[i] * b[i]; });
}

Tensor Executor::mul(const Tensor& x, const Weight& y) {
  CHECK(x.width == y.vector.rows);
  const float *a = x.data(), *b = y.vector.data();
  return each_line(x, [=](size_t, size_t i, size_t j) { return a[i] * b[j]; });
}

// A weight of exactly 0 gives exactly `a`, sign of zero included.
Tensor Executor::lerp(const Tensor& a, const Tensor& b, const Tensor& t) {
  CHECK(same_shape(a, b) && t.width == 1 && t.rows == a.rows && t.heads == a.heads);
  const float *x = a.data(), *y = b.data(), *w = t.data();
  return each_line(a, [=](size_t line, size_t i, size_t) {
    return w[line] == 0 ? x[i] : x[i] + w[line] * (y[i] - x[i]);
  });
}

Tensor Executor::add_positions(const Tensor& x, const Tensor& positions) {
  CHECK(positions.width == x.width && x.heads == 1 && x.rows % positions.rows == 0);
  const float *a = x.data(), *p = positions.data();
  const size_t period = size_t(positions.rows), width = size_t(x.width);
  return each_line(
      x, [=](size_t line, size_t i, size_t j) { return a[i] + p[line % period * width + j]; });
}

Tensor Executor::at_least(const Tensor& x, float least) {
  const float* a = x.data();
  return each(x, [=](size_t i) { return a[i] < least ? 0 : a[i]; });
}

Tensor Executor::affine(const Tensor& x, float scale, float shift) {
  const float* a = x.data();
  return each(x, [=](size_t i) { return scale * a[i] + shift; });
}

}  // namespace revenant
