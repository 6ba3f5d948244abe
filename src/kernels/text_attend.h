// Attention with an online softmax. Up to group_queries queries go together through blocks of 64
// keys, three at a time through the sums; every query's own sums run as if it were alone.
#pragma once

#include "kernels/text_linear.h"
#include "kernels/text_rows.h"

namespace revenant {
namespace {

constexpr size_t max_dim = 256, group_queries = 15, most_heads = 1024;

// A query, and what it knows after some blocks of keys; `ghost` is P gv, not yet scaled and added.
struct Query {
  float largest, total, shrink;
  size_t seen;  // keys of this block
  const float* q;
  alignas(64) float plain[max_dim], ghost[max_dim], loud[max_dim];  // loud: eta^2 gq
  alignas(64) float score[key_block];
};

// Applies f to the queries that see the block, three at a time.
template <class F>
inline void by_threes(Query* const* queries, size_t n, F f) {
  size_t i = 0;
  for (; i + 3 <= n; i += 3) f(*reinterpret_cast<Query* const(*)[3]>(queries + i));
  if (n - i == 2) f(*reinterpret_cast<Query* const(*)[2]>(queries + i));
  if (n - i == 1) f(*reinterpret_cast<Query* const(*)[1]>(queries + i));
}

// A block of keys or values, and the one after it, which is asked of memory while a single query,
// bound by reading, is in this one; the last block stands for its successor. Null: no ghosts.
template <class T>
struct Rows {
  const T *block = nullptr, *next = nullptr;
  Rows(const void* const* blocks, size_t b, bool last)
      : block(blocks ? static_cast<const T*>(blocks[b]) : nullptr),
        next(blocks && !last ? static_cast<const T*>(blocks[b + 1]) : block) {}
};

// Asks for `n` elements.
template <class T>
inline void ask_for_row(const T* row, size_t n) {
  for (size_t i = 0; i < n; i += 64 / sizeof(T)) __builtin_prefetch(row + i, 0, 2);
}

// q . k + eta^2 gq . gk for the keys of the block that any of M queries sees; one sum for both.
template <class T, size_t M>
void score_block(const AttendArgs& a, const Rows<T>& key, const Rows<T>& ghost,
                 Query* const (&queries)[M]) {
  const float *q[M], *gq[M];
  size_t keys = 0;
  for (size_t m = 0; m < M; ++m) {
    q[m] = queries[m]->q, gq[m] = queries[m]->loud;
    keys = keys < queries[m]->seen ? queries[m]->seen : keys;
  }
  for (size_t j = 0; j < keys; j += block_outputs) {
    const T *k[block_outputs], *gk[block_outputs];
    for (size_t l = 0; l < block_outputs; ++l) {
      const size_t row = lesser(j + l, keys - 1) * a.stride;
      k[l] = key.block + row, gk[l] = ghost.block ? ghost.block + row : nullptr;
      if (M > 1) continue;
      ask_for_row(key.next + row, size_t(a.head_dim));
      if (ghost.next) ask_for_row(ghost.next + row, size_t(a.head_dim));
    }
    Sums<M> s;
    clear<M>(s);
    add_dots<M>(q, k, size_t(a.head_dim), 0, s);
    if (a.gk) add_dots<M>(gq, gk, size_t(a.head_dim), 0, s);
    for (size_t m = 0; m < M; ++m)
      sums(s[m], *reinterpret_cast<float(*)[block_outputs]>(queries[m]->score + j));
  }
}

// Scores become probabilities relative to the largest score so far.
void normalise(Query& query, float scale) {
  float* score = query.score;
  const size_t padded = (query.seen + lanes - 1) / lanes * lanes;
  for (size_t j = 0; j < padded; j += lanes) store(score + j, all(scale) * load(score + j));
  for (size_t j = query.seen; j < padded; ++j) score[j] = -__builtin_inff();
  const float before = query.largest;
  Vec top = all(before);
  for (size_t j = 0; j < padded; j += lanes) top = greatest(top, load(score + j));
  query.largest = largest(top);
  Vec total = zero();
  for (size_t j = 0; j < padded; j += lanes) {
    const Vec p = exp_of(load(score + j) - all(query.largest));
    store(score + j, p);
    total = total + p;
  }
  query.shrink = exp_of(all(before - query.largest))[0];
  query.total = query.total * query.shrink + sum(total);
}

// Columns [0, C * lanes) of sum and v, or their first `width` < lanes (then C = 1):
// sum = shrink sum + p v.
template <size_t M, size_t C, class T, class Load>
inline void mix_columns(Query* const (&queries)[M], const T* v, const T* next, size_t stride,
                        float* const (&sum)[M], Load get) {
  Vec s[M][C];
  size_t common = queries[0]->seen;
#pragma GCC unroll 4
  for (size_t m = 0; m < M; ++m) {
    common = lesser(common, queries[m]->seen);
#pragma GCC unroll 4
    for (size_t c = 0; c < C; ++c) s[m][c] = load(sum[m] + c * lanes) * all(queries[m]->shrink);
  }
  for (size_t j = 0; j < common; ++j) {
    Vec p[M];
#pragma GCC unroll 3
    for (size_t m = 0; m < M; ++m) p[m] = all(queries[m]->score[j]);
#pragma GCC unroll 4
    for (size_t c = 0; c < C; ++c) {
      const Vec value = in_register(get(v + j * stride + c * lanes));
      if (M == 1) __builtin_prefetch(next + j * stride + c * lanes, 0, 2);
#pragma GCC unroll 3
      for (size_t m = 0; m < M; ++m) s[m][c] = fma(p[m], value, s[m][c]);
    }
  }
#pragma GCC unroll 4
  for (size_t m = 0; m < M; ++m) {
    for (size_t j = common; j < queries[m]->seen; ++j)
#pragma GCC unroll 4
      for (size_t c = 0; c < C; ++c)
        s[m][c] = fma(all(queries[m]->score[j]), get(v + j * stride + c * lanes), s[m][c]);
#pragma GCC unroll 4
    for (size_t c = 0; c < C; ++c) store(sum[m] + c * lanes, s[m][c]);
  }
}

// Adds p v of the block to the member `part` of each query.
template <class T, size_t M>
void mix_block(Query* const (&queries)[M], const Rows<T>& value, size_t stride, size_t d,
               float (Query::*part)[max_dim]) {
  const T *v = value.block, *next = value.next;
  float* sum[M];
  size_t i = 0;
  const auto at = [&] {
    for (size_t m = 0; m < M; ++m) sum[m] = queries[m]->*part + i;
  };
  const auto whole = [](const T* p) { return load(p); };
  for (; i + 4 * lanes <= d; i += 4 * lanes)
    at(), mix_columns<M, 4>(queries, v + i, next + i, stride, sum, whole);
  for (; i + lanes <= d; i += lanes)
    at(), mix_columns<M, 1>(queries, v + i, next + i, stride, sum, whole);
  const size_t tail = d - i;
  const auto some = [=](const T* p) { return load_some(p, tail); };
  if (tail) at(), mix_columns<M, 1>(queries, v + i, next + i, stride, sum, some);
}

void start(const AttendArgs& a, size_t i, Query& query) {
  query.largest = -__builtin_inff(), query.total = 0;
  query.q = a.q[i];
  for (size_t l = 0; l < max_dim; ++l) query.plain[l] = query.ghost[l] = 0;
  if (!a.gq) return;
  for (size_t l = 0; l < size_t(a.head_dim); ++l) query.loud[l] = a.eta * a.eta * a.gq[i][l];
}

void finish(const AttendArgs& a, size_t i, const Query& query) {
  const float inverse = a.counts[i] > 0 ? 1.0f / query.total : 0.0f;
  for (size_t l = 0; l < size_t(a.head_dim); ++l) a.plain[i][l] = query.plain[l] * inverse;
  if (!a.ghost) return;
  for (size_t l = 0; l < size_t(a.head_dim); ++l)
    a.ghost[i][l] = (query.plain[l] + a.eta * query.ghost[l]) * inverse;
}

// Block b of the keys for the n queries of a group that see any of it; `last`: no one sees more.
template <class T>
void take_block(const AttendArgs& a, size_t b, bool last, Query* const* queries, size_t n) {
  const size_t d = size_t(a.head_dim);
  const Rows<T> k(a.k, b, last), v(a.v, b, last), gk(a.gk, b, last), gv(a.gv, b, last);
  by_threes(queries, n, [&](const auto& three) { score_block<T>(a, k, gk, three); });
  for (size_t i = 0; i < n; ++i) normalise(*queries[i], a.scale);
  by_threes(queries, n, [&](const auto& three) {
    mix_block<T>(three, v, a.stride, d, &Query::plain);
    if (a.gv) mix_block<T>(three, gv, a.stride, d, &Query::ghost);
  });
}

// Queries [i, i + n), n <= group_queries.
void attend_group(const AttendArgs& a, size_t i, size_t n) {
  Query queries[group_queries];
  Query* seeing[group_queries];
  for (size_t m = 0; m < n; ++m) start(a, i + m, queries[m]);
  for (size_t b = 0;; ++b) {
    const size_t begin = b * key_block;
    size_t active = 0;
    bool last = true;
    for (size_t m = 0; m < n; ++m) {
      const size_t count = a.counts[i + m] > 0 ? size_t(a.counts[i + m]) : 0;
      if (count <= begin) continue;
      queries[m].seen = lesser(key_block, count - begin);
      last = last && count - begin <= key_block;
      seeing[active++] = &queries[m];
    }
    if (active == 0) break;
    if (a.type == WeightType::f32) take_block<float>(a, b, last, seeing, active);
    if (a.type == WeightType::f16) take_block<Half>(a, b, last, seeing, active);
    if (a.type == WeightType::bf16) take_block<Brain>(a, b, last, seeing, active);
  }
  for (size_t m = 0; m < n; ++m) finish(a, i + m, queries[m]);
}

void attend(const AttendArgs& a) noexcept {
  for (size_t i = 0; i < size_t(a.queries); i += group_queries)
    attend_group(a, i, lesser(group_queries, size_t(a.queries) - i));
}

void attend_heads(const float* q, size_t n, const float* k, const float* v, size_t m, size_t d,
                  float* out) noexcept {
  const float* queries[group_queries];
  float* plain[group_queries];
  int counts[group_queries];
  const void *keys[most_heads / key_block], *values[most_heads / key_block];
  for (size_t b = 0; b * key_block < m; ++b)
    keys[b] = k + b * key_block * d, values[b] = v + b * key_block * d;
  AttendArgs a;
  a.head_dim = int(d), a.k = keys, a.v = values, a.stride = d;
  a.scale = 1.0f / __builtin_sqrtf(float(d));
  a.q = queries, a.plain = plain, a.counts = counts;
  for (size_t i = 0; i < n; i += group_queries) {
    a.queries = int(lesser(group_queries, n - i));
    for (size_t l = 0; l < size_t(a.queries); ++l) {
      queries[l] = q + (i + l) * d, plain[l] = out + (i + l) * d, counts[l] = int(m);
    }
    attend(a);
  }
}

}  // namespace
}  // namespace revenant
