// Attention over the cache, and Phantom's anchor. N rows, h heads, g key/value heads, d head_dim.
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>

#include "base/error.h"
#include "native/executor.h"

namespace revenant {
namespace {

// Rows whose queries one call of the kernel takes; they share the keys they read.
constexpr int rows_a_call = 16;

// Rows [first, first + rows) of what is computed, all of one span, and a head of their keys.
struct Piece {
  int span, first, rows, kv_head;
};

// `rows`: of the step, ascending.
std::vector<Piece> cut(const Step& step, std::span<const int> rows, const Config& c) {
  std::vector<Piece> pieces;
  int first = 0;
  for (size_t s = 0; s < step.spans.size(); ++s) {
    const Span& span = step.spans[s];
    int end = first;
    while (end < int(rows.size()) && rows[size_t(end)] < span.first_row + span.rows) ++end;
    for (; first < end; first = std::min(end, first + rows_a_call))
      for (int head = 0; head < c.kv_heads; ++head)
        pieces.push_back({int(s), first, std::min(rows_a_call, end - first), head});
  }
  return pieces;
}

// fn(span, first row, rows) for pieces of the step's rows, some `grain` of them together.
template <class F>
void by_spans(Threads& threads, const Step& step, size_t grain, const F& fn) {
  threads.parallel_for(size_t(step.rows), grain, [&](size_t begin, size_t end) {
    for (size_t s = 0; s < step.spans.size(); ++s) {
      const Span& span = step.spans[s];
      const int from = std::max(int(begin), span.first_row),
                to = std::min(int(end), span.first_row + span.rows);
      if (from < to) fn(int(s), from, to - from);
    }
  });
}

// Where the blocks of a part of one head lie, for the first `rows` rows.
std::vector<const void*> blocks(const Sequence& s, Site site, CachePart part, int head, int rows) {
  std::vector<const void*> all;
  for (int r = 0; r < rows; r += page_rows)
    all.push_back(s.block(site.pass, site.layer, part, head, r));
  return all;
}

// A piece as the kernel takes it: `group` heads of each of its rows read the same key/value head.
struct Call {
  std::vector<int> counts;
  std::vector<const float*> q, ghost_q;
  std::vector<float*> plain, ghost;
  std::vector<const void*> k, v, ghost_k, ghost_v;
  AttendArgs rest;  // what is no pointer

  void add(int count, size_t from, size_t to, const Haunted<Tensor>& a, Halves<Tensor>& out) {
    counts.push_back(count);
    q.push_back(a.plain.q.data() + from);
    plain.push_back(out.plain.data() + to);
    if (!a.has_ghost) return;
    ghost_q.push_back(a.ghost.q.data() + from);
    ghost.push_back(out.ghost.data() + to);
  }
  AttendArgs args() const {
    const auto or_null = [](const auto& all) { return all.empty() ? nullptr : all.data(); };
    AttendArgs a = rest;
    a.queries = int(counts.size());
    a.counts = counts.data();
    a.q = q.data(), a.k = k.data(), a.v = v.data(), a.plain = plain.data();
    a.gk = or_null(ghost_k), a.gv = or_null(ghost_v), a.ghost = or_null(ghost);
    a.gq = a.gk ? ghost_q.data() : nullptr;
    return a;
  }
  size_t chunks() const { return (size_t(counts.back()) + key_chunk - 1) / key_chunk; }
};

// Whether threads that take whole pieces would wait for each other for a third of the time or more.
bool uneven(size_t pieces, size_t threads) {
  const size_t turns = (pieces + threads - 1) / threads;
  return 2 * turns * threads >= 3 * pieces;
}

// A long context of few rows and heads: by chunks of its keys, so that every thread has some.
void attend_by_chunks(const Kernels& kernels, Threads& threads, const std::vector<Call>& calls) {
  std::vector<std::pair<size_t, size_t>> jobs;      // call, chunk
  std::vector<std::unique_ptr<AttendSums[]>> sums;  // [call][chunks][queries]
  for (const Call& call : calls) {
    for (size_t chunk = 0; chunk < call.chunks(); ++chunk) jobs.push_back({sums.size(), chunk});
    sums.emplace_back(new AttendSums[call.chunks() * call.counts.size()]);
  }
  threads.parallel_for(jobs.size(), 1, [&](size_t begin, size_t end) {
    for (size_t j = begin; j < end; ++j) {
      const auto [call, chunk] = jobs[j];
      kernels.attend_chunk(calls[call].args(), chunk,
                           &sums[call][chunk * calls[call].counts.size()]);
    }
  });
  threads.parallel_for(calls.size(), 1, [&](size_t begin, size_t end) {
    for (size_t call = begin; call < end; ++call)
      kernels.attend_join(calls[call].args(), sums[call].get());
  });
}

// Of a row's heads; one that is no number is infinitely long.
float longest(const Tensor& x, int row) {
  float most = 0;
  for (int head = 0; head < x.heads; ++head) {
    const float* values = x.row(row) + size_t(head) * size_t(x.width);
    const float norm = std::sqrt(std::inner_product(values, values + x.width, values, 0.0f));
    most = std::max(most, std::isfinite(norm) ? norm : std::numeric_limits<float>::infinity());
  }
  return most;
}

// A number, or the scale of some, that f16 cannot hold would be an infinity from here on.
float most_held(Format type) {
  constexpr float f16 = 65504;
  return type == Format::f16    ? f16
         : type == Format::q8_0 ? 127 * f16
                                : std::numeric_limits<float>::infinity();
}

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

// The rows that sequences begin with; later passes have the first one's anchors.
std::vector<int> Executor::beginnings(Site site, const Step& step) const {
  std::vector<int> rows;
  for (const Span& span : step.spans)
    if (site.pass == 1 && span.start == 0) rows.push_back(span.first_row);
  return rows;
}

// A ghost is gelu(W a) of a mean a of what its mixer's values are, and |gelu(z)| <= |z|: so |y| is
// at most the norm of W times the longest value. `norms`: eta^2 times both mixers' W.
void Executor::keep_anchors(Site site, const Step& step, const Anchors<Tensor>& made, float norms) {
  int begun = 0;
  for (const Span& span : step.spans) {
    if (span.start != 0) continue;
    Anchor& anchor = sequence_of(span).anchor(site.layer);
    anchor.ghosts_add = norms * longest(made.q.v, begun) * longest(made.k.v, begun);
    const auto kept = parts_of(anchor);
    for (size_t i = 0; i < kept.size(); ++i) {
      const Tensor& part = *parts_of(made)[i];
      kept[i]->assign(part.row(begun), part.row(begun) + part.row_size());
    }
    ++begun;
  }
}

Anchors<Tensor> Executor::kept_anchors(Site site, const Step& step) const {
  Anchors<Tensor> all;
  const auto parts = parts_of(all);
  for (const Span& span : step.spans)
    all.quiet.push_back(sequence_of(span).anchor(site.layer).quiet());
  for (size_t i = 0; i < parts.size(); ++i)
    for (size_t s = 0; s < step.spans.size(); ++s) {
      const std::vector<float>& kept = *parts_of(sequence_of(step.spans[s]).anchor(site.layer))[i];
      CHECK(!kept.empty() && kept.size() % size_t(c_.head_dim) == 0);
      if (s == 0)
        *parts[i] = Tensor(int(step.spans.size()), int(kept.size()) / c_.head_dim, c_.head_dim);
      CHECK(kept.size() == parts[i]->row_size());
      std::memcpy(parts[i]->row(int(s)), kept.data(), kept.size() * sizeof(float));
    }
  return all;
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
  by_spans(threads_, step, 16, [&](int span, int row, int rows) {
    k_.attend_heads(q.row(row), size_t(rows) * heads, k.row(span), v.row(span), size_t(k.heads),
                    width, out.row(row));
  });
  return out;
}

// Through all of a mixer with a few rows at a time, whose values stay in the first caches.
Tensor Executor::mix(const Mixer<Weight>& m, const Tensor& x, const Seen<Tensor>* seen,
                     const std::vector<bool>* quiet, const Step& step) {
  if (!seen || observer_) return Verbs::mix(m, x, seen, quiet, step);
  stop_unless(go_on_);
  Tensor out(x.rows, x.heads, x.width);
  const size_t heads = size_t(x.heads), width = size_t(x.width);
  by_spans(threads_, step, 4, [&](int span, int first, int all_rows) {
    if (quiet && (*quiet)[size_t(span)]) {  // nobody reads it, but the cache is kept on disks
      std::memset(out.row(first), 0, size_t(all_rows) * x.row_size() * sizeof(float));
      return;
    }
    std::vector<float> one(4 * x.row_size()), other(one.size());
    for (int row = first; row < first + all_rows; row += 4) {
      const size_t n = size_t(std::min(4, first + all_rows - row)) * heads;
      alone(m.q, x.row(row), n, one.data());
      k_.gelu(one.data(), n * width, one.data());
      k_.attend_heads(one.data(), n, seen->k.row(span), seen->v.row(span), size_t(seen->k.heads),
                      width, other.data());
      alone(m.o, other.data(), n, out.row(row));
      k_.gelu(out.row(row), n * width, out.row(row));
    }
  });
  return out;
}

Tensor Executor::gate_of(const Linear<Weight>& gate1, const Tensor& plain,
                         const Linear<Weight>& gate2, const Tensor& ghost) {
  if (observer_) return Verbs::gate_of(gate1, plain, gate2, ghost);
  Tensor gate(plain.rows, plain.heads, 1);
  const size_t width = size_t(plain.width);
  const size_t lines = size_t(plain.rows) * size_t(plain.heads);
  threads_.parallel_for(lines, grain_for(4 * width), [&](size_t begin, size_t end) {
    std::vector<float> other(end - begin);
    alone(gate1, plain.data() + begin * width, end - begin, gate.data() + begin);
    alone(gate2, ghost.data() + begin * width, end - begin, other.data());
    for (size_t i = begin; i < end; ++i) gate.data()[i] -= other[i - begin];
    k_.sigmoid(gate.data() + begin, end - begin, gate.data() + begin);
  });
  return gate;
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

// New rows go into the cache before anything reads it, so a row sees the rows of its own piece the
// way later rows will.
void Executor::remember(Site site, const Tensor& x, const Span& span, CachePart part) {
  const Sequence& sequence = sequence_of(span);
  const Format type = sequence.shape().types.of(part);
  const size_t d = size_t(x.width);
  float top = 0;
  for (int head = 0; head < x.heads; ++head)  // whose block stays in the first cache
    for (int r = span.start; r < span.start + span.rows; ++r) {
      const float* row = x.row(span.first_row + r - span.start) + size_t(head) * d;
      top = std::max(top, k_.remember(row, d, type, block_of(part), size_t(r % page_rows),
                                      sequence.block(site.pass, site.layer, part, head, r)));
    }
  const float most = most_held(type);
  if (top <= most) return;
  failures_.resize(sequences_.size());
  const bool ghosts = part == CachePart::ghost_k || part == CachePart::ghost_v;
  failures_[size_t(span.sequence)] =
      Error("cache", (ghosts ? "ghosts in " : "keys and values in ") + cache_name(type),
            "at most " + std::to_string(int(most)) + " (--cache-type " +
                (ghosts ? "f32" : "bf16 or f32") + " holds more)",
            std::to_string(top));
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

Halves<Tensor> Executor::attend(Site site, const Haunted<Tensor>& a, const Step& step, float eta,
                                const Part* part) {
  remember(site, a, step);
  const Tensor& q = a.plain.q;
  const int d = q.width, group = q.heads / a.plain.k.heads;
  std::vector<int> rows = part ? part->rows : std::vector<int>(size_t(q.rows));
  if (!part) std::iota(rows.begin(), rows.end(), 0);
  Halves<Tensor> out{Tensor(int(rows.size()), q.heads, d), {}};
  if (a.has_ghost) out.ghost = Tensor(out.plain.rows, q.heads, d);
  const std::vector<Piece> pieces = cut(step, rows, c_);
  const auto call_of = [&](const Piece& piece) {
    const Span& span = step.spans[size_t(piece.span)];
    const Sequence& sequence = sequence_of(span);
    Call call;
    for (int i = piece.first; i < piece.first + piece.rows; ++i)
      for (int h = piece.kv_head * group; h < (piece.kv_head + 1) * group; ++h)
        call.add(span.start + rows[size_t(i)] - span.first_row + 1,
                 size_t(rows[size_t(i)]) * q.row_size() + size_t(h) * size_t(d),
                 size_t(i) * q.row_size() + size_t(h) * size_t(d), a, out);
    const auto in = [&](CachePart part) {
      return blocks(sequence, site, part, piece.kv_head, call.counts.back());
    };
    call.k = in(CachePart::k), call.v = in(CachePart::v);
    if (a.has_ghost) call.ghost_v = in(CachePart::ghost_v);
    if (a.has_ghost && !sequence.anchor(site.layer).quiet()) call.ghost_k = in(CachePart::ghost_k);
    call.rest.head_dim = d;
    call.rest.type = sequence.shape().types.all;
    call.rest.ghost_type = sequence.shape().types.ghost_v;
    call.rest.scale = float(1 / std::sqrt(double(d)));
    call.rest.eta = eta;
    return call;
  };
  const bool long_context = std::ranges::any_of(
      step.spans, [](const Span& span) { return size_t(span.start + span.rows) > key_chunk; });
  if (long_context && rows.size() <= size_t(rows_a_call) &&
      uneven(pieces.size(), size_t(threads_.count()))) {
    std::vector<Call> calls;
    for (const Piece& piece : pieces) calls.push_back(call_of(piece));
    attend_by_chunks(k_, threads_, calls);
    return out;
  }
  threads_.parallel_for(pieces.size(), 1, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; ++p) k_.attend(call_of(pieces[p]).args());
  });
  return out;
}

}  // namespace revenant
