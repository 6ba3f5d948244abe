// The plain verbs; executor_attend.cc has attention and executor_tower.cc what only towers use.
#include "native/executor.h"

#include <cstring>

#include "base/dtype.h"
#include "base/error.h"

namespace revenant {
namespace {

// Multiplications below which waking another thread costs more than it brings.
constexpr size_t least_work = 1 << 15;

size_t grain_for(size_t work_per_item) {
  return std::max<size_t>(1, least_work / std::max<size_t>(1, work_per_item));
}

void read_row(const Matrix& m, int64_t r, float* out) {
  const std::byte* row = m.row(r);
  if (m.type == WeightType::f32) {
    std::memcpy(out, row, size_t(m.columns) * sizeof(float));
    return;
  }
  const auto* half = reinterpret_cast<const uint16_t*>(row);
  for (int i = 0; i < m.columns; ++i)
    out[i] = m.type == WeightType::f16 ? to_float_f16(half[i]) : to_float_bf16(half[i]);
}

bool same_shape(const Tensor& x, const Tensor& y) {
  return x.rows == y.rows && x.heads == y.heads && x.width == y.width;
}

}  // namespace

Tensor Executor::embed(const Matrix& table, std::span<const int> ids) {
  Tensor out(int(ids.size()), 1, table.columns);
  for (size_t r = 0; r < ids.size(); ++r) {
    CHECK(ids[r] >= 0 && ids[r] < table.rows);
    read_row(table, ids[r], out.row(int(r)));
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

// Columns [begin, end) of the product; rows of a fused weight stand in blocks.
void Executor::columns(const Matrix& w, const float* bias, const float* x, size_t rows, float* out,
                       size_t begin, size_t end) {
  const size_t n = size_t(w.rows), k = size_t(w.columns), block = size_t(w.map.block);
  while (begin < end) {
    const size_t stop = std::min(end, (begin / block + 1) * block);
    k_.linear(x, rows, k, w.row(int64_t(begin)), w.type, stop - begin, k,
              bias ? bias + begin : nullptr, out + begin, n);
    begin = stop;
  }
}

void Executor::multiply(const Matrix& w, const float* bias, const float* x, size_t rows,
                        float* out) {
  const size_t n = size_t(w.rows), k = size_t(w.columns);
  if (rows >= 4 * n) {  // many short rows: the mixers, which all heads share
    threads_.parallel_for(rows, grain_for(n * k), [&](size_t begin, size_t end) {
      columns(w, bias, x + begin * k, end - begin, out + begin * n, 0, n);
    });
  } else {
    const size_t grain = (grain_for(rows * k) + 7) / 8 * 8;
    threads_.parallel_for(
        n, grain, [&](size_t begin, size_t end) { columns(w, bias, x, rows, out, begin, end); });
  }
}

Tensor Executor::linear(const Linear<Matrix>& w, const Tensor& x, const Step* step) {
  CHECK(x.width == w.weight.columns);
  stop_unless(go_on_);
  Tensor out(x.rows, x.heads, w.weight.rows);
  multiply(w.weight, w.bias.floats(), x.data(), size_t(x.rows) * size_t(x.heads), out.data());
  if (step && w.lora_a) add_picture_branch(w, x, *step, out);
  return out;
}

// TroL-1.8B/7B: picture rows get a low-rank addition; the other rows are not even computed.
void Executor::add_picture_branch(const Linear<Matrix>& w, const Tensor& x, const Step& step,
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

Tensor Executor::swiglu(const MlpWeights<Matrix>& w, const Tensor& x, const Step& step) {
  const Tensor gate = linear(w.gate, x, &step), up = linear(w.up, x, &step);
  Tensor product(gate.rows, 1, gate.width);
  threads_.parallel_for(size_t(gate.rows), grain_for(size_t(gate.width) * 8),
                        [&](size_t begin, size_t end) {
                          const size_t at = begin * gate.row_size();
                          k_.swiglu(gate.data() + at, up.data() + at,
                                    (end - begin) * gate.row_size(), product.data() + at);
                        });
  return linear(w.down, product, &step);
}

Tensor Executor::rms_norm(const Tensor& x, const Norm<Matrix>& norm) {
  CHECK(x.width == norm.weight.rows);
  Tensor out(x.rows, x.heads, x.width);
  const size_t w = size_t(x.width);
  threads_.parallel_for(size_t(x.rows) * size_t(x.heads), grain_for(w), [&](size_t b, size_t e) {
    k_.rms_norm(x.data() + b * w, e - b, w, norm.weight.floats(), float(norm.eps),
                out.data() + b * w);
  });
  return out;
}

Tensor Executor::layer_norm(const Tensor& x, const Norm<Matrix>& norm) {
  CHECK(x.width == norm.weight.rows);
  Tensor out(x.rows, x.heads, x.width);
  const size_t w = size_t(x.width);
  threads_.parallel_for(size_t(x.rows) * size_t(x.heads), grain_for(w), [&](size_t b, size_t e) {
    k_.layer_norm(x.data() + b * w, e - b, w, norm.weight.floats(), norm.bias.floats(),
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

Executor::Later Executor::later_part(const Step& step) const {
  Later later;
  for (const Span& span : step.spans) {
    if (!traverses(c_.trol, span)) continue;
    const auto picture = step.picture.begin() + span.first_row;
    later.step.add(span.sequence, span.start, span.rows, span.rope_length, span.prompt,
                   {picture, picture + span.rows});
    for (int r = 0; r < span.rows; ++r) later.rows.push_back(span.first_row + r);
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

Tensor Executor::mul(const Tensor& x, const Matrix& y) {
  CHECK(x.width == y.rows && y.values);
  const float *a = x.data(), *b = y.floats();
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

Tensor Executor::affine(const Tensor& x, float scale, float shift) {
  const float* a = x.data();
  return each(x, [=](size_t i) { return scale * a[i] + shift; });
}

}  // namespace revenant
