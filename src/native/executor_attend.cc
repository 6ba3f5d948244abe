// Attention over the cache, and Phantom's anchor. N rows, h heads, g key/value heads, d head_dim.
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "native/executor.h"

namespace revenant {
namespace {

// Rows whose queries one call of the kernel takes; they share the keys they read.
constexpr int rows_a_call = 16;

struct Piece {
  int span, first_row, rows, kv_head;
};

std::vector<Piece> cut(const Step& step, const Config& c) {
  std::vector<Piece> pieces;
  for (size_t s = 0; s < step.spans.size(); ++s) {
    const Span& span = step.spans[s];
    for (int r = 0; r < span.rows; r += rows_a_call)
      for (int head = 0; head < c.kv_heads; ++head)
        pieces.push_back({int(s), span.first_row + r, std::min(rows_a_call, span.rows - r), head});
  }
  return pieces;
}

// The queries of one piece: `group` heads of each of its rows read the same key/value head.
struct Queries {
  std::vector<int> counts;
  std::vector<const float*> q, ghost_q;
  std::vector<float*> plain, ghost;

  void add(int count, size_t at, const Haunted<Tensor>& a, Halves<Tensor>& out) {
    counts.push_back(count);
    q.push_back(a.plain.q.data() + at);
    plain.push_back(out.plain.data() + at);
    if (!a.has_ghost) return;
    ghost_q.push_back(a.ghost.q.data() + at);
    ghost.push_back(out.ghost.data() + at);
  }
};

// Where the blocks of a part of one head lie, for the first `rows` rows.
std::vector<const void*> blocks(const Sequence& s, Site site, CachePart part, int head, int rows) {
  std::vector<const void*> all;
  for (int r = 0; r < rows; r += page_rows)
    all.push_back(s.row(site.pass, site.layer, part, head, r));
  return all;
}

// A key or value that the cache's type cannot hold would be an infinity from here on.
constexpr float largest_f16 = 65504;

}  // namespace

Tensor Executor::rope(const Tensor& x, const Step& step) {
  if (!rotation_) rotation_ = rope_rows(c_.rope, x.width, step);
  const size_t half = size_t(x.width / 2);
  CHECK(rotation_->cos.size() == size_t(x.rows) * half);
  Tensor out(x.rows, x.heads, x.width);
  threads_.parallel_for(size_t(x.rows), 64, [&](size_t begin, size_t end) {
    k_.rope(x.row(int(begin)), end - begin, size_t(x.heads), size_t(x.width),
            rotation_->cos.data() + begin * half, rotation_->sin.data() + begin * half,
            out.row(int(begin)));
  });
  return out;
}

Qkv<Tensor> Executor::anchor(Site site, const Qkv<Tensor>& a, const Step& step) {
  const int spans = int(step.spans.size());
  Qkv<Tensor> first = {Tensor(spans, a.q.heads, a.q.width), Tensor(spans, a.k.heads, a.k.width),
                       Tensor(spans, a.v.heads, a.v.width)};
  const auto one = [&](const Tensor& x, int row, std::vector<float>& kept, Tensor& out, int s) {
    const Span& span = step.spans[size_t(s)];
    if (site.pass == 1 && span.start == 0) kept.assign(x.row(row), x.row(row) + x.row_size());
    CHECK(kept.size() == x.row_size());
    std::memcpy(out.row(s), kept.data(), kept.size() * sizeof(float));
  };
  for (int s = 0; s < spans; ++s) {
    const int row = step.spans[size_t(s)].first_row;
    Anchor& anchor = sequence_of(step.spans[size_t(s)]).anchor(site.layer);
    one(a.q, row, anchor.q, first.q, s);
    one(a.k, row, anchor.k, first.k, s);
    one(a.v, row, anchor.v, first.v, s);
  }
  return first;
}

Tensor Executor::each(const Weight& w, const Step& step) {
  CHECK(w.vector.values && w.vector.columns == 1);
  Tensor out(int(step.spans.size()), 1, w.vector.rows);
  for (int s = 0; s < out.rows; ++s)
    std::memcpy(out.row(s), w.vector.data(), out.row_size() * sizeof(float));
  return out;
}

Tensor Executor::attend_heads(const Tensor& q, const Tensor& k, const Tensor& v, const Step& step) {
  Tensor out(q.rows, q.heads, q.width);
  const size_t heads = size_t(q.heads), width = size_t(q.width);
  for (size_t s = 0; s < step.spans.size(); ++s) {
    const Span& span = step.spans[s];
    threads_.parallel_for(size_t(span.rows), 16, [&](size_t begin, size_t end) {
      const int row = span.first_row + int(begin);
      k_.attend_heads(q.row(row), (end - begin) * heads, k.row(int(s)), v.row(int(s)),
                      size_t(k.heads), width, out.row(row));
    });
  }
  return out;
}

Tensor Executor::attend_own_heads(const Tensor& q, const Tensor& k, const Tensor& v) {
  Tensor out(q.rows, q.heads, q.width);
  threads_.parallel_for(size_t(q.rows), 16, [&](size_t begin, size_t end) {
    for (int row = int(begin); row < int(end); ++row)
      k_.attend_heads(q.row(row), size_t(q.heads), k.row(row), v.row(row), size_t(k.heads),
                      size_t(q.width), out.row(row));
  });
  return out;
}

// New rows go into the cache before anything reads it, so a row sees the rows of its own chunk the
// way later rows will.
void Executor::remember(Site site, const Tensor& x, const Span& span, CachePart part) {
  const Sequence& sequence = sequence_of(span);
  const WeightType type = sequence.cache_type();
  const size_t d = size_t(x.width);
  float top = 0;
  for (int r = 0; r < span.rows; ++r)
    for (int head = 0; head < x.heads; ++head)
      top =
          std::max(top, k_.narrow(x.row(span.first_row + r) + size_t(head) * d, d, type,
                                  sequence.row(site.pass, site.layer, part, head, span.start + r)));
  if (type != WeightType::f16 || top <= largest_f16) return;
  failures_.resize(sequences_.size());
  failures_[size_t(span.sequence)] =
      Error("cache", "keys and values in f16",
            "at most 65504 (--cache-type bf16 or f32 holds more)", std::to_string(top));
}

void Executor::remember(Site site, const Haunted<Tensor>& a, const Step& step) {
  for (const Span& span : step.spans) {
    remember(site, a.plain.k, span, CachePart::k);
    remember(site, a.plain.v, span, CachePart::v);
    if (!a.has_ghost) continue;
    remember(site, a.ghost.k, span, CachePart::ghost_k);
    remember(site, a.ghost.v, span, CachePart::ghost_v);
  }
}

Halves<Tensor> Executor::attend(Site site, const Haunted<Tensor>& a, const Step& step, float eta) {
  remember(site, a, step);
  const Tensor& q = a.plain.q;
  const int d = q.width, group = q.heads / a.plain.k.heads;
  Halves<Tensor> out{Tensor(q.rows, q.heads, d), {}};
  if (a.has_ghost) out.ghost = Tensor(q.rows, q.heads, d);
  const std::vector<Piece> pieces = cut(step, c_);
  threads_.parallel_for(pieces.size(), 1, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; ++p) {
      const Piece& piece = pieces[p];
      const Span& span = step.spans[size_t(piece.span)];
      const Sequence& sequence = sequence_of(span);
      const int keys = span.start + piece.first_row - span.first_row + piece.rows;
      const auto part = [&](CachePart p) { return blocks(sequence, site, p, piece.kv_head, keys); };
      const std::vector<const void*> k = part(CachePart::k), v = part(CachePart::v),
                                     ghost_k = a.has_ghost ? part(CachePart::ghost_k) : k,
                                     ghost_v = a.has_ghost ? part(CachePart::ghost_v) : v;
      Queries queries;
      for (int r = piece.first_row; r < piece.first_row + piece.rows; ++r)
        for (int h = piece.kv_head * group; h < (piece.kv_head + 1) * group; ++h)
          queries.add(span.start + r - span.first_row + 1,
                      size_t(r) * q.row_size() + size_t(h) * size_t(d), a, out);
      AttendArgs args;
      args.type = sequence.cache_type();
      args.queries = int(queries.counts.size());
      args.head_dim = d;
      args.counts = queries.counts.data();
      args.q = queries.q.data();
      args.k = k.data();
      args.v = v.data();
      args.stride = size_t(d);
      args.scale = float(1 / std::sqrt(double(d)));
      args.plain = queries.plain.data();
      if (a.has_ghost) {
        args.gq = queries.ghost_q.data();
        args.gk = ghost_k.data();
        args.gv = ghost_v.data();
        args.eta = eta;
        args.ghost = queries.ghost.data();
      }
      k_.attend(args);
    }
  });
  return out;
}

}  // namespace revenant
