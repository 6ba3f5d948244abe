#include "train/attend.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"
#include "train/each_isa.h"

namespace revenant {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// Queries whose weights are there at once: two tables of 128 x 1,000 floats lie in half of L2.
constexpr int64_t kQueries = 128;

// Rows of one head, in [R, heads, d] or in a table.
struct Rows {
  float* at;
  size_t stride, width;

  Rows from(int64_t row) const { return {at + size_t(row) * stride, stride, width}; }
  GemmFactor along_width() const { return {at, false, true, stride}; }
  GemmFactor along_rows() const { return {at, false, false, stride}; }
};

Rows rows_of(const Tensor& x, int64_t row, int64_t head) {
  const int64_t heads = x.size(1), d = x.size(2);
  return {x.data_ptr<float>() + (row * heads + head) * d, size_t(heads * d), size_t(d)};
}

void multiply(int64_t m, size_t n, int64_t k, const GemmFactor& a, const GemmFactor& b,
              const Rows& c, bool adds) {
  static const Split alone = [](size_t count, const auto& work) { work(0, count); };
  bf16_gemm(size_t(m), n, size_t(k), a, b, {c.at, c.stride, adds}, alone);
}

// [rows, keys] (+)= x y'
void add_scores(int64_t rows, int64_t keys, const Rows& x, const Rows& y, const Rows& to,
                bool adds) {
  multiply(rows, size_t(keys), int64_t(x.width), x.along_width(), y.along_width(), to, adds);
}

// to [rows, d] (+)= table [rows, keys] y
void add_mix(int64_t rows, int64_t keys, const Rows& table, const Rows& y, const Rows& to,
             bool adds = false) {
  multiply(rows, y.width, keys, table.along_width(), y.along_rows(), to, adds);
}

// to [keys, d] += table' [keys, rows] x
void add_back(int64_t rows, int64_t keys, const Rows& table, const Rows& x, const Rows& to) {
  multiply(keys, x.width, rows, table.along_rows(), x.along_rows(), to, true);
}

EACH_ISA void scale_row(float* x, int64_t n, float factor) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

// dp becomes p (dp - sum p dp) scale.
EACH_ISA void softmax_back(const float* p, int64_t n, float scale, float* dp) {
  float mean = 0;
#pragma omp simd reduction(+ : mean)
  for (int64_t i = 0; i < n; ++i) mean += p[i] * dp[i];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) dp[i] = p[i] * (dp[i] - mean) * scale;
}

// Queries [begin, begin + rows) of a sequence and the keys before and among them.
struct Piece {
  int64_t begin, rows, keys;
};

template <class Body>
void each_piece(const AttentionSpan& s, const Body& body) {
  for (int64_t begin = 0; begin < s.rows; begin += kQueries) {
    const int64_t rows = std::min(kQueries, s.rows - begin);
    body(Piece{begin, rows, s.causal ? begin + rows : s.rows});
  }
}

// Kept by its thread.
Rows table(int which, const Piece& piece) {
  thread_local std::vector<float> kept[2];
  const size_t stride = (size_t(piece.keys) + 15) / 16 * 16;
  std::vector<float>& numbers = kept[which];
  if (numbers.size() < size_t(piece.rows) * stride) numbers.resize(size_t(piece.rows) * stride);
  return {numbers.data(), stride, size_t(piece.keys)};
}

// What the queries of one head, of its k and v, meet; ghosts' rows are null where there are none.
struct Head {
  Rows q, k, v, ghost_q, ghost_k, ghost_v;
  bool has_ghost;
};

// The weights of a piece: [rows, keys], 0 at what is not seen.
Rows weights_of(const Head& h, const AttentionSpan& s, const Piece& piece, float scale) {
  const Rows p = table(0, piece);
  add_scores(piece.rows, piece.keys, h.q.from(piece.begin), h.k, p, false);
  if (h.has_ghost)
    add_scores(piece.rows, piece.keys, h.ghost_q.from(piece.begin), h.ghost_k, p, true);
  for (int64_t i = 0; i < piece.rows; ++i) {
    const int64_t row = piece.begin + i, seen = s.causal ? row + 1 : piece.keys;
    float* const x = p.from(i).at;
    for (const AttentionSpan::Branch& b : s.branches)
      if (b.begin <= row && row < b.end)
        for (const auto& [begin, end] : b.unseen)
          std::fill(x + begin, x + end, -std::numeric_limits<float>::infinity());
    const float sum = kernels().exponentials(x, size_t(seen), scale, x);
    scale_row(x, seen, 1 / sum);
    std::fill(x + seen, x + piece.keys, 0.0f);
  }
  return p;
}

struct Attend : torch::autograd::Function<Attend> {
  static tensor_list forward(AutogradContext* context, const Tensor& q, const Tensor& k,
                             const Tensor& v, const std::optional<Tensor>& ghost_q,
                             const std::optional<Tensor>& ghost_k,
                             const std::optional<Tensor>& ghost_v,
                             const std::shared_ptr<const std::vector<AttentionSpan>>& spans,
                             double scale) {
    const auto or_none = [](const std::optional<Tensor>& x) { return x ? *x : Tensor(); };
    const tensor_list inputs = {q, k, v, or_none(ghost_q), or_none(ghost_k), or_none(ghost_v)};
    context->save_for_backward(inputs);
    context->saved_data["spans"] = c10::IValue::make_capsule(c10::make_intrusive<Kept>(spans));
    context->saved_data["scale"] = scale;
    tensor_list outputs = {torch::empty_like(q)};
    if (ghost_q) outputs.push_back(torch::empty_like(q));
    each_head(inputs, *spans, [&](const AttentionSpan& s, int64_t head, const Head& h) {
      each_piece(s, [&](const Piece& piece) {
        const Rows p = weights_of(h, s, piece, float(scale));
        const int64_t row = s.first_row + piece.begin;
        add_mix(piece.rows, piece.keys, p, h.v, rows_of(outputs[0], row, head));
        if (h.has_ghost)
          add_mix(piece.rows, piece.keys, p, h.ghost_v, rows_of(outputs[1], row, head));
      });
    });
    return outputs;
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const tensor_list inputs = context->get_saved_variables();
    const double scale = context->saved_data["scale"].toDouble();
    const std::vector<AttentionSpan>& spans =
        *c10::static_intrusive_pointer_cast<Kept>(context->saved_data["spans"].toCapsule())->spans;
    for (Tensor& g : gradients) g = g.defined() ? g.contiguous() : torch::zeros_like(inputs[0]);
    tensor_list out(8);
    for (size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i].defined()) out[i] = torch::zeros_like(inputs[i]);
    const int64_t group = inputs[0].size(1) / inputs[1].size(1);
    each_head(inputs, spans, [&](const AttentionSpan& s, int64_t head, const Head& h) {
      const auto own = [&](const Tensor& x) { return rows_of(x, s.first_row, head); };
      const auto shared = [&](const Tensor& x) { return rows_of(x, s.first_row, head / group); };
      each_piece(s, [&](const Piece& piece) {
        const auto [begin, rows, keys] = piece;
        const Rows p = weights_of(h, s, piece, float(scale)), d = table(1, piece);
        const Rows g = own(gradients[0]).from(begin);
        add_scores(rows, keys, g, h.v, d, false);
        add_back(rows, keys, p, g, shared(out[2]));
        if (h.has_ghost) {
          const Rows ghost_g = own(gradients[1]).from(begin);
          add_scores(rows, keys, ghost_g, h.ghost_v, d, true);
          add_back(rows, keys, p, ghost_g, shared(out[5]));
        }
        for (int64_t i = 0; i < rows; ++i)
          softmax_back(p.from(i).at, keys, float(scale), d.from(i).at);
        add_mix(rows, keys, d, h.k, own(out[0]).from(begin));
        add_back(rows, keys, d, h.q.from(begin), shared(out[1]));
        if (h.has_ghost) {
          add_mix(rows, keys, d, h.ghost_k, own(out[3]).from(begin));
          add_back(rows, keys, d, h.ghost_q.from(begin), shared(out[4]));
        }
      });
    });
    return out;
  }

 private:
  struct Kept : torch::CustomClassHolder {
    explicit Kept(std::shared_ptr<const std::vector<AttentionSpan>> c) : spans(std::move(c)) {}
    std::shared_ptr<const std::vector<AttentionSpan>> spans;
  };

  // body(sequence, head of q, its rows): the heads of one k and v one after the other on a thread.
  template <class Body>
  static void each_head(const tensor_list& in, const std::vector<AttentionSpan>& spans,
                        const Body& body) {
    const int64_t shared = in[1].size(1), group = in[0].size(1) / shared;
    const bool has_ghost = in[3].defined();
    at::parallel_for(0, int64_t(spans.size()) * shared, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const AttentionSpan& s = spans[size_t(i / shared)];
        for (int64_t head = i % shared * group; head < (i % shared + 1) * group; ++head) {
          const auto rows = [&](size_t input) {
            return in[input].defined()
                       ? rows_of(in[input], s.first_row, input % 3 == 0 ? head : head / group)
                       : Rows{};
          };
          body(s, head, Head{rows(0), rows(1), rows(2), rows(3), rows(4), rows(5), has_ghost});
        }
      }
    });
  }
};

}  // namespace

Halves<Tensor> attend_rows(const Haunted<Tensor>& a,
                           const std::shared_ptr<const std::vector<AttentionSpan>>& spans,
                           double scale) {
  const auto plain = [](const Tensor& x) { return x.to(torch::kFloat32).contiguous(); };
  const auto ghost = [&](const Tensor& x) {
    return a.has_ghost ? std::optional(plain(x)) : std::nullopt;
  };
  const tensor_list o =
      Attend::apply(plain(a.plain.q), plain(a.plain.k), plain(a.plain.v), ghost(a.ghost.q),
                    ghost(a.ghost.k), ghost(a.ghost.v), spans, scale);
  return {o[0], a.has_ghost ? o[1] : Tensor()};
}

}  // namespace revenant
