// Attention with an online softmax. Up to group_queries queries go together through blocks of 64
// keys, score_queries at a time through the sums; every query's own sums run as if it were alone.
// Both sums have their lanes along memory: scores along the keys of a block, mixtures along the
// numbers of a value; so neither ends in a tree, and a number of the cache, widened once, meets
// score_queries queries.
//
// Three loops, from the outside:
//   groups of queries, whose sums and scores stay in the first cache:
//     14 queries x (2 to 3 x d + 64) x 4 bytes <= 24 KB at d = 128, 14 = 2 x 7;
//   blocks of keys: k and v of one, 64 x d x 2 x 2 bytes = 32 KB in f16 at d = 128, are read from
//   memory by the first queries of the group and stay in the second cache for the others;
//   tiles of score_queries x 4 vectors of keys or of numbers, whose sums are in registers: with one
//   vector that they meet and what they are multiplied by, at most all registers (vec_*.h).
#pragma once

#include <type_traits>

#include "kernels/text_cache.h"
#include "kernels/text_rows.h"

namespace revenant {
namespace {

constexpr size_t group_queries = 14;

// A query, what its chunk of keys came to so far, and what its last block made of that.
struct Query {
  AttendSums* sums;
  float shrink;
  size_t seen;  // keys of this block
  const float* q;
  alignas(64) float loud[most_head_dim];  // eta^2 gq
  alignas(64) float score[key_block];
};

// Applies f to n queries, W of them at a time, what is left by threes, twos and ones; the first
// ones, if they `ask`, ask memory for what comes next.
template <size_t W, bool ask, class F>
inline void by_groups(Query* const* queries, size_t n, F f) {
  if (n >= W) {
    f(*reinterpret_cast<Query* const(*)[W]>(queries), std::bool_constant<ask>());
    by_groups<W, false>(queries + W, n - W, f);
  } else if constexpr (W > 1) {
    by_groups<(W > 3 ? 3 : W - 1), ask>(queries, n, f);
  }
}
// Few queries, of one row of a model that shares its keys, are bound by reading.
constexpr size_t few_queries = 7;
template <class F>
inline void by_groups(Query* const* queries, size_t n, F f) {
  if (n <= few_queries) return by_groups<score_queries, true>(queries, n, f);
  by_groups<score_queries, false>(queries, n, f);
}

// A block of keys or values, and the one after it, which is asked of memory meanwhile; the last
// block stands for its successor. Null: no ghosts.
template <class T>
struct Rows {
  const T *block = nullptr, *next = nullptr;
  Rows(const void* const* blocks, size_t b, bool last)
      : block(blocks ? static_cast<const T*>(blocks[b]) : nullptr),
        next(blocks && !last ? static_cast<const T*>(blocks[b + 1]) : block) {}
};

// total[m][c] += x[m] . keys [j + c lanes, j + (c + 1) lanes), in runs of 32 numbers.
template <size_t C, bool ask, size_t M, class T>
inline void add_scores(const float* const (&x)[M], const Rows<T>& key, size_t d, size_t j,
                       Vec (&total)[M][C]) {
  for (size_t begin = 0; begin < d; begin += scale_run) {
    Vec s[M][C];
#pragma GCC unroll 8
    for (size_t m = 0; m < M; ++m)
#pragma GCC unroll 8
      for (size_t c = 0; c < C; ++c) s[m][c] = zero();
    const size_t end = lesser(begin + scale_run, d);
    for (size_t i = begin; i < end; ++i) {
      Vec number[M];
#pragma GCC unroll 8
      for (size_t m = 0; m < M; ++m) number[m] = M > 3 ? all(x[m][i]) : in_register(all(x[m][i]));
#pragma GCC unroll 8
      for (size_t c = 0; c < C; ++c) {
        const size_t at = i * key_block + j + c * lanes;
        const Vec value = in_register(load(key.block + at));
        if (ask) __builtin_prefetch(key.next + at, 0, 2);
#pragma GCC unroll 8
        for (size_t m = 0; m < M; ++m) s[m][c] = fma(number[m], value, s[m][c]);
      }
    }
#pragma GCC unroll 8
    for (size_t c = 0; c < C; ++c) {
      Vec scale = all(1.0f);
      if constexpr (scaled<T>) scale = load(scales(key.block, d, begin) + j + c * lanes);
#pragma GCC unroll 8
      for (size_t m = 0; m < M; ++m) total[m][c] = fma(scale, s[m][c], total[m][c]);
    }
  }
}

// q . k + eta^2 gq . gk of C vectors of keys.
template <size_t C, bool ask, size_t M, class T>
inline void score_keys(const AttendArgs& a, const Rows<T>& key, const Rows<T>& ghost,
                       Query* const (&queries)[M], size_t j) {
  const float *q[M], *gq[M];
  Vec total[M][C];
  for (size_t m = 0; m < M; ++m) {
    q[m] = queries[m]->q, gq[m] = queries[m]->loud;
    for (size_t c = 0; c < C; ++c) total[m][c] = zero();
  }
  add_scores<C, ask>(q, key, size_t(a.head_dim), j, total);
  if (ghost.block) add_scores<C, ask>(gq, ghost, size_t(a.head_dim), j, total);
  for (size_t m = 0; m < M; ++m)
    for (size_t c = 0; c < C; ++c) store(queries[m]->score + j + c * lanes, total[m][c]);
}

// Of the keys of the block that any of M queries sees, and of some behind them.
template <class T, bool ask, size_t M>
void score_block(const AttendArgs& a, const Rows<T>& key, const Rows<T>& ghost,
                 Query* const (&queries)[M]) {
  size_t keys = 0, j = 0;
  for (size_t m = 0; m < M; ++m) keys = keys < queries[m]->seen ? queries[m]->seen : keys;
  for (; j + 3 * lanes < keys; j += 4 * lanes) score_keys<4, ask>(a, key, ghost, queries, j);
  for (; j < keys; j += lanes) score_keys<1, ask>(a, key, ghost, queries, j);
}

constexpr float order[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Scores become probabilities relative to the largest score so far, those of keys behind the ones
// that are seen 0. (Written by vectors: what is read in other parts than it was written in waits.)
void normalise(Query& query, float scale) {
  float* score = query.score;
  AttendSums& sums = *query.sums;
  const float before = sums.largest;
  Vec top = all(before);
  for (size_t j = 0; j < query.seen; j += lanes) {
    Vec s = all(scale) * load(score + j);
    if (j + lanes > query.seen)
      s = if_less(load(order), all(float(query.seen - j)), s, all(-__builtin_inff()));
    store(score + j, s);
    top = greatest(top, s);
  }
  sums.largest = largest(top);
  Vec total = zero();
  for (size_t j = 0; j < query.seen; j += lanes) {
    const Vec p = weight_of(load(score + j) - all(sums.largest));
    store(score + j, p);
    total = total + p;
  }
  query.shrink = weight_of(all(before - sums.largest))[0];
  sums.total = sums.total * query.shrink + sum(total);
}

// Columns [0, C * lanes) of sum and v, or as many of C = 1 as `get` loads: sum = shrink sum + p v.
template <bool ask, size_t M, size_t C, class T, class Load>
inline void mix_columns(Query* const (&queries)[M], const float* const (&weights)[M], const T* v,
                        const T* next, size_t d, float* const (&sum)[M], Load get) {
  Vec s[M][C];
  size_t common = queries[0]->seen;
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m) {
    common = lesser(common, queries[m]->seen);
#pragma GCC unroll 8
    for (size_t c = 0; c < C; ++c) s[m][c] = load(sum[m] + c * lanes) * all(queries[m]->shrink);
  }
  for (size_t j = 0; j < common; ++j) {
    Vec p[M];
#pragma GCC unroll 8
    for (size_t m = 0; m < M; ++m) p[m] = all(weights[m][j]);
#pragma GCC unroll 8
    for (size_t c = 0; c < C; ++c) {
      const Vec value = in_register(get(v + j * d + c * lanes));
      if (ask) __builtin_prefetch(next + j * d + c * lanes, 0, 2);
#pragma GCC unroll 8
      for (size_t m = 0; m < M; ++m) s[m][c] = fma(p[m], value, s[m][c]);
    }
  }
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m) {
    for (size_t j = common; j < queries[m]->seen; ++j)
#pragma GCC unroll 8
      for (size_t c = 0; c < C; ++c)
        s[m][c] = fma(all(weights[m][j]), get(v + j * d + c * lanes), s[m][c]);
#pragma GCC unroll 8
    for (size_t c = 0; c < C; ++c) store(sum[m] + c * lanes, s[m][c]);
  }
}

// Adds p v of the block to `part` of each query's sums.
template <class T, bool ask, size_t M>
void mix_block(Query* const (&queries)[M], const Rows<T>& value, size_t d,
               float (AttendSums::*part)[most_head_dim]) {
  const T *v = value.block, *next = value.next;
  const float* weights[M];
  float* sum[M];
  size_t i = 0;
  for (size_t m = 0; m < M; ++m) weights[m] = queries[m]->score;
  const auto at = [&] {
    for (size_t m = 0; m < M; ++m) sum[m] = queries[m]->sums->*part + i;
  };
  const auto whole = [](const T* p) { return load(p); };
  if constexpr (scaled<T>) {  // the weights of a run are p times its scales
    alignas(64) float products[M][key_block];
    for (; i < d; i += scale_run) {
      for (size_t m = 0; m < M; ++m) {
        weights[m] = products[m];
        for (size_t j = 0; j < queries[m]->seen; j += lanes)
          store(products[m] + j, load(queries[m]->score + j) * load(scales(v, d, i) + j));
      }
      at(),
          mix_columns<ask, M, scale_run / lanes>(queries, weights, v + i, next + i, d, sum, whole);
    }
  } else {
    for (; i + 4 * lanes <= d; i += 4 * lanes)
      at(), mix_columns<ask, M, 4>(queries, weights, v + i, next + i, d, sum, whole);
    for (; i + lanes <= d; i += lanes)
      at(), mix_columns<ask, M, 1>(queries, weights, v + i, next + i, d, sum, whole);
    const size_t tail = d - i;
    const auto some = [=](const T* p) { return load_some(p, tail); };
    if (tail) at(), mix_columns<ask, M, 1>(queries, weights, v + i, next + i, d, sum, some);
  }
}

void begin(const AttendArgs& a, AttendSums& sums) {
  sums.largest = -__builtin_inff(), sums.total = 0;
  for (size_t l = 0; l < size_t(a.head_dim); l += lanes)
    store(sums.plain + l, zero()), store(sums.ghost + l, zero());
}

void start(const AttendArgs& a, size_t i, AttendSums& sums, Query& query) {
  begin(a, sums);
  query.sums = &sums;
  query.q = a.q[i];
  if (!a.gq) return;
  for (size_t l = 0; l < size_t(a.head_dim); ++l) query.loud[l] = a.eta * a.eta * a.gq[i][l];
}

// Takes in what the next chunk came to.
void join(const AttendArgs& a, const AttendSums& chunk, AttendSums& all_sums) {
  const float largest = all_sums.largest > chunk.largest ? all_sums.largest : chunk.largest;
  const Vec keep = weight_of(all(all_sums.largest - largest)),
            take = weight_of(all(chunk.largest - largest));
  all_sums.largest = largest;
  all_sums.total = all_sums.total * keep[0] + chunk.total * take[0];
  const auto add = [&](float* sum, const float* more) {
    for (size_t l = 0; l < size_t(a.head_dim); l += lanes)
      store(sum + l, fma(load(more + l), take, load(sum + l) * keep));
  };
  add(all_sums.plain, chunk.plain);
  if (a.ghost) add(all_sums.ghost, chunk.ghost);
}

void finish(const AttendArgs& a, size_t i, const AttendSums& sums) {
  const float inverse = a.counts[i] > 0 ? 1.0f / sums.total : 0.0f;
  for (size_t l = 0; l < size_t(a.head_dim); ++l) a.plain[i][l] = sums.plain[l] * inverse;
  if (!a.ghost) return;
  for (size_t l = 0; l < size_t(a.head_dim); ++l)
    a.ghost[i][l] = (sums.plain[l] + a.eta * sums.ghost[l]) * inverse;
}

// Block b of the keys for the n queries of a group that see any of it; `last`: no one sees more.
template <class T>
void take_block(const AttendArgs& a, size_t b, bool last, Query* const* queries, size_t n) {
  const size_t d = size_t(a.head_dim);
  const Rows<T> k(a.k, b, last), v(a.v, b, last), gk(a.gk, b, last);
  by_groups(queries, n,
            [&](const auto& group, auto asks) { score_block<T, asks()>(a, k, gk, group); });
  for (size_t i = 0; i < n; ++i) normalise(*queries[i], a.scale);
  by_groups(queries, n, [&](const auto& group, auto asks) {
    mix_block<T, asks()>(group, v, d, &AttendSums::plain);
    if (!a.gv) return;
    with_numbers(a.ghost_type, [&]<class G>(const G*) {
      mix_block<G, asks()>(group, Rows<G>(a.gv, b, last), d, &AttendSums::ghost);
    });
  });
}

inline size_t keys_of(const AttendArgs& a, size_t i) {
  return a.counts[i] > 0 ? size_t(a.counts[i]) : 0;
}
// Of queries [i, i + n).
inline size_t most_keys(const AttendArgs& a, size_t i, size_t n) {
  size_t most = 0;
  for (size_t m = 0; m < n; ++m) most = most < keys_of(a, i + m) ? keys_of(a, i + m) : most;
  return most;
}

// Queries [i, i + n), n <= group_queries, over one chunk.
void sum_chunk(const AttendArgs& a, size_t chunk, size_t i, size_t n, AttendSums* sums) {
  Query queries[group_queries];
  Query* seeing[group_queries];
  for (size_t m = 0; m < n; ++m) start(a, i + m, sums[m], queries[m]);
  const size_t end = lesser((chunk + 1) * key_chunk, most_keys(a, i, n));
  for (size_t at = chunk * key_chunk; at < end; at += key_block) {
    size_t active = 0;
    for (size_t m = 0; m < n; ++m) {
      if (keys_of(a, i + m) <= at) continue;
      queries[m].seen = lesser(key_block, keys_of(a, i + m) - at);
      seeing[active++] = &queries[m];
    }
    with_numbers(a.type, [&]<class T>(const T*) {
      take_block<T>(a, at / key_block, at + key_block >= end, seeing, active);
    });
  }
}

void attend_chunk(const AttendArgs& a, size_t chunk, AttendSums* sums) noexcept {
  for (size_t i = 0; i < size_t(a.queries); i += group_queries)
    sum_chunk(a, chunk, i, lesser(group_queries, size_t(a.queries) - i), sums + i);
}

void attend_join(const AttendArgs& a, const AttendSums* sums) noexcept {
  for (size_t i = 0; i < size_t(a.queries); ++i) {
    AttendSums all_sums;
    begin(a, all_sums);
    for (size_t chunk = 0; chunk * key_chunk < keys_of(a, i); ++chunk)
      join(a, sums[chunk * size_t(a.queries) + i], all_sums);
    finish(a, i, all_sums);
  }
}

void attend(const AttendArgs& a) noexcept {
  AttendSums part[group_queries], all_sums[group_queries];
  for (size_t i = 0; i < size_t(a.queries); i += group_queries) {
    const size_t n = lesser(group_queries, size_t(a.queries) - i);
    for (size_t m = 0; m < n; ++m) begin(a, all_sums[m]);
    for (size_t chunk = 0; chunk * key_chunk < most_keys(a, i, n); ++chunk) {
      sum_chunk(a, chunk, i, n, part);
      for (size_t m = 0; m < n; ++m)
        if (chunk * key_chunk < keys_of(a, i + m)) join(a, part[m], all_sums[m]);
    }
    for (size_t m = 0; m < n; ++m) finish(a, i + m, all_sums[m]);
  }
}

// Rows [0, n) of x as the columns of a block, and zeros as far as vectors of them are read.
inline void turn(const float* x, size_t n, size_t d, float* block) {
  for (size_t r = 0; r < n; ++r)
    for (size_t l = 0; l < d; ++l) block[l * key_block + r] = x[r * d + l];
  for (size_t r = n; r % lanes > 0; ++r)
    for (size_t l = 0; l < d; ++l) block[l * key_block + r] = 0;
}

void attend_heads(const float* q, size_t n, const float* k, const float* v, size_t m, size_t d,
                  float* out) noexcept {
  alignas(64) float turned[most_head_dim * key_block];
  size_t held = m;  // the first of the keys in `turned`
  AttendSums sums[group_queries];
  Query queries[group_queries];
  Query* all_queries[group_queries];
  const float* rows[group_queries];
  float* outs[group_queries];
  int counts[group_queries];
  const void *key = turned, *value;
  AttendArgs a;
  a.head_dim = int(d), a.counts = counts, a.q = rows, a.k = &key, a.v = &value, a.plain = outs;
  a.scale = 1.0f / __builtin_sqrtf(float(d));
  for (size_t i = 0; i < n; i += group_queries) {
    const size_t group = lesser(group_queries, n - i);
    for (size_t l = 0; l < group; ++l) {
      rows[l] = q + (i + l) * d, outs[l] = out + (i + l) * d, counts[l] = int(m);
      start(a, l, sums[l], queries[l]);
      all_queries[l] = &queries[l];
    }
    for (size_t at = 0; at < m; at += key_block) {
      const size_t seen = lesser(key_block, m - at);
      if (held != at) turn(k + at * d, seen, d, turned);
      held = at, value = v + at * d;
      for (size_t l = 0; l < group; ++l) queries[l].seen = seen;
      take_block<float>(a, 0, true, all_queries, group);
    }
    for (size_t l = 0; l < group; ++l) finish(a, l, sums[l]);
  }
}

}  // namespace
}  // namespace revenant
