#include <algorithm>
#include <numeric>
#include <tuple>

#include "kernels/guarded.h"

namespace revenant {
namespace {

// Queries over one key/value head.
struct Scene {
  size_t queries, keys, d;
  Guarded<float> q, gq, k, v, gk, gv;
  std::vector<int> counts;
  float scale, eta;
};

Scene make_scene(size_t queries, size_t keys, size_t d, std::vector<int> counts) {
  return {queries,
          keys,
          d,
          normals(queries * d, 1),
          normals(queries * d, 2),
          normals(keys * d, 3),
          normals(keys * d, 4),
          normals(keys * d, 5),
          normals(keys * d, 6),
          std::move(counts),
          1 / std::sqrt(float(d)),
          0.7f};
}

// How a scene is attended.
struct Way {
  bool ghosts = true, quiet = false, chunks = false;
  Format type = Format::f32, ghost_type = Format::f32;
};

// The numbers that a cache of these types holds.
Scene as_held(Scene s, const Way& way) {
  for (auto [part, type] : {std::pair{&s.k, way.type}, std::pair{&s.v, way.type},
                            std::pair{&s.gk, way.type}, std::pair{&s.gv, way.ghost_type}})
    for (size_t j = 0; j < s.keys; ++j)
      std::ranges::copy(rounded(part->data() + j * s.d, s.d, type), part->data() + j * s.d);
  return s;
}

struct Result {
  std::vector<float> plain, ghost;
};

// The queries named by `chosen`, in that order, in one call, or in one a chunk of keys.
Result run(const Kernels& table, const Scene& s, const std::vector<size_t>& chosen,
           const Way& way = {}) {
  const size_t n = chosen.size();
  Guarded<float> plain(n * s.d), ghost(n * s.d);
  Guarded<int> counts(n);
  Guarded<const float*> q(n), gq(n);
  Guarded<float*> to_plain(n), to_ghost(n);
  for (size_t i = 0; i < n; ++i) {
    counts[i] = s.counts[chosen[i]];
    q[i] = s.q.data() + chosen[i] * s.d, gq[i] = s.gq.data() + chosen[i] * s.d;
    to_plain[i] = plain.data() + i * s.d, to_ghost[i] = ghost.data() + i * s.d;
  }
  AttendArgs a;
  a.queries = int(n), a.head_dim = int(s.d), a.counts = counts.data(), a.q = q.data();
  a.scale = s.scale, a.eta = s.eta, a.plain = to_plain.data();
  a.type = way.type, a.ghost_type = way.ghost_type;
  const Blocks k(s.k.data(), s.keys, s.d, way.type, BlockOf::keys),
      v(s.v.data(), s.keys, s.d, way.type, BlockOf::values),
      gk(s.gk.data(), s.keys, s.d, way.type, BlockOf::keys),
      gv(s.gv.data(), s.keys, s.d, way.ghost_type, BlockOf::values);
  a.k = k.pointers.data(), a.v = v.pointers.data();
  if (way.ghosts) {
    a.gq = gq.data(), a.gk = gk.pointers.data();
    a.gv = gv.pointers.data(), a.ghost = to_ghost.data();
  }
  if (way.quiet) a.gq = nullptr, a.gk = nullptr;
  if (!way.chunks) {
    table.attend(a);
  } else {
    const size_t chunks = (s.keys + key_chunk - 1) / key_chunk;
    std::vector<AttendSums> sums(chunks * n);
    for (size_t c = 0; c < chunks; ++c) table.attend_chunk(a, c, &sums[c * n]);
    table.attend_join(a, sums.data());
  }
  return {{plain.data(), plain.data() + n * s.d}, {ghost.data(), ghost.data() + n * s.d}};
}

double dot(const float* a, const float* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += double(a[i]) * b[i];
  return sum;
}

// One query in double.
std::pair<std::vector<double>, std::vector<double>> truth(const Scene& s, size_t i, bool ghosts) {
  std::vector<double> score(size_t(s.counts[i])), plain(s.d), ghost(s.d);
  double top = -1e300, total = 0;
  for (size_t j = 0; j < score.size(); ++j) {
    score[j] = dot(s.q.data() + i * s.d, s.k.data() + j * s.d, s.d);
    if (ghosts)
      score[j] += double(s.eta) * s.eta * dot(s.gq.data() + i * s.d, s.gk.data() + j * s.d, s.d);
    top = std::max(top, score[j] *= s.scale);
  }
  for (double& p : score) total += p = std::exp(p - top);
  for (size_t j = 0; j < score.size(); ++j)
    for (size_t l = 0; l < s.d; ++l) {
      plain[l] += score[j] / total * s.v[j * s.d + l];
      ghost[l] += score[j] / total * s.gv[j * s.d + l];
    }
  for (size_t l = 0; l < s.d; ++l) ghost[l] = plain[l] + s.eta * ghost[l];
  return {plain, ghost};
}

std::vector<size_t> everyone(size_t n) {
  std::vector<size_t> out(n);
  std::iota(out.begin(), out.end(), 0);
  return out;
}

// Values are standard normal, weights sum to 1: an absolute bound is one relative to sum |terms|.
void expect_near_double(const Kernels& table, const Scene& s, const Way& way) {
  const Result got = run(table, s, everyone(s.queries), way);
  const Scene numbers = as_held(s, way);
  for (size_t i = 0; i < s.queries; ++i) {
    const auto [plain, ghost] = truth(numbers, i, way.ghosts);
    for (size_t l = 0; l < s.d; ++l) {
      ASSERT_NEAR(got.plain[i * s.d + l], plain[l], 3e-6)
          << table.isa << " query " << i << " sees " << s.counts[i] << " d " << s.d;
      ASSERT_NEAR(got.ghost[i * s.d + l], way.ghosts ? ghost[l] : 0, 5e-6) << table.isa << " " << i;
    }
  }
}

bool equal(const Result& a, const Result& b) {
  return same(a.plain.data(), b.plain.data(), a.plain.size()) &&
         same(a.ghost.data(), b.ghost.data(), a.ghost.size());
}

EACH_TABLE(Attend);

const std::vector<int> around_blocks = {1, 2, 63, 64, 65, 127, 128, 129, 200};

TEST_P(Attend, EqualsDouble) {
  for (size_t d : {1, 7, 16, 48, 64, 80, 96, 100, 128, 256})
    for (bool ghosts : {false, true})
      expect_near_double(*table, make_scene(9, 200, d, around_blocks), {.ghosts = ghosts});
}

TEST_P(Attend, EveryCountAlone) {
  std::vector<int> counts(201);
  std::iota(counts.begin(), counts.end(), 0);

  expect_near_double(*table, make_scene(201, 200, 48, counts), {});
}

// 16-bit keys and values are read as the floats they stand for; the arithmetic is the same.
TEST_P(Attend, SixteenBitCacheEqualsItsFloats) {
  for (Format type : {Format::f16, Format::bf16})
    for (size_t d : {7, 48, 64, 96, 128})
      for (bool ghosts : {false, true}) {
        const Scene s = make_scene(9, 200, d, around_blocks);
        const Way way{.ghosts = ghosts, .type = type, .ghost_type = type};
        EXPECT_TRUE(equal(run(*table, s, everyone(9), way),
                          run(*table, as_held(s, way), everyone(9), {.ghosts = ghosts})))
            << table->isa << d;
      }
}

TEST_P(Attend, EightBitCacheIsNearItsFloats) {
  for (size_t d : {32, 64, 96, 128, 256})
    for (bool ghosts : {false, true})
      expect_near_double(*table, make_scene(9, 200, d, around_blocks),
                         {.ghosts = ghosts, .type = Format::q8_0, .ghost_type = Format::q8_0});
}

TEST_P(Attend, GhostsMayHaveFewerBits) {
  for (const Format type : {Format::f32, Format::f16, Format::bf16})
    expect_near_double(*table, make_scene(9, 200, 64, around_blocks),
                       {.type = type, .ghost_type = Format::q8_0});
}

// Chunks that are computed apart, at the ends of a chunk and within it.
TEST_P(Attend, ChunksApartAreTheSameBits) {
  for (const Format type : cache_formats)
    for (const bool ghosts : {false, true}) {
      const Scene s = make_scene(7, 2500, 32, {0, 1, 1023, 1024, 1025, 2048, 2500});
      const Way way{.ghosts = ghosts, .type = type, .ghost_type = type};
      Way apart = way;
      apart.chunks = true;
      EXPECT_TRUE(equal(run(*table, s, everyone(7), way), run(*table, s, everyone(7), apart)));
      expect_near_double(*table, s, apart);
    }
}

// Without ghosts in the scores the values' are as with those of queries that are 0.
TEST_P(Attend, QuietGhostsAreThoseOfZeros) {
  for (size_t d : {7, 48, 64, 128}) {
    Scene s = make_scene(9, 200, d, around_blocks);
    const Result quiet = run(*table, s, everyone(9), {.quiet = true});
    for (size_t i = 0; i < s.gq.size(); ++i) s.gq[i] = 0;
    EXPECT_TRUE(equal(quiet, run(*table, s, everyone(9)))) << table->isa << d;
  }
}

// Sees nothing, says nothing; and what follows the last visible key counts nothing.
TEST_P(Attend, OnlyWhatIsSeenCounts) {
  for (const Format type : cache_formats)
    for (int count : {0, 1, 15, 64, 70}) {
      Scene s = make_scene(2, 200, 64, {count, count});
      for (Guarded<float>* part : {&s.k, &s.v, &s.gk, &s.gv})
        for (size_t i = size_t(count) * s.d; i < part->size(); ++i) (*part)[i] = NAN;
      const Result got = run(*table, s, {0, 1}, {.type = type, .ghost_type = type});
      for (float x : got.ghost) ASSERT_TRUE(count ? std::isfinite(x) : x == 0) << table->isa;
    }
}

TEST_P(Attend, QueryIsTheSameInAnyCompany) {
  Random random(9);
  std::vector<int> counts(60);
  for (int& count : counts) count = int(random.below(201));
  counts[0] = 0, counts[1] = 64, counts[2] = 65, counts[3] = 63, counts[4] = 128, counts[5] = 200;

  using F = Format;
  for (auto [d, type, ghost_type] : {std::tuple<size_t, F, F>{7, F::bf16, F::f32},
                                     {16, F::f32, F::f32},
                                     {48, F::f32, F::f32},
                                     {64, F::f16, F::q8_0},
                                     {64, F::q8_0, F::q8_0},
                                     {80, F::f32, F::f32},
                                     {96, F::q8_0, F::f16},
                                     {128, F::f32, F::f32},
                                     {256, F::f16, F::f16}})
    for (bool ghosts : {false, true}) {
      const Scene s = make_scene(60, 200, d, counts);
      const Way way{.ghosts = ghosts, .type = type, .ghost_type = ghost_type};
      std::vector<Result> alone;
      for (size_t i = 0; i < 60; ++i) alone.push_back(run(*table, s, {i}, way));
      for (int round = 0; round < 8; ++round) {
        auto chosen = everyone(60);
        if (round > 0) random.shuffle(chosen);
        if (round > 1) chosen.resize(1 + random.below(59));
        const Result got = run(*table, s, chosen, way);
        for (size_t i = 0; i < chosen.size(); ++i) {
          const Result& own = alone[chosen[i]];
          ASSERT_TRUE(same(got.plain.data() + i * d, own.plain.data(), d)) << table->isa << d;
          ASSERT_TRUE(same(got.ghost.data() + i * d, own.ghost.data(), d)) << table->isa << d;
        }
      }
    }
}

// A dead key in one query's company (infinite value) does not leak into who does not see it.
TEST_P(Attend, CompanionsKeysDoNotLeak) {
  Scene s = make_scene(3, 70, 64, {69, 70, 40});
  s.v[69 * s.d] = std::numeric_limits<float>::infinity();
  const Result got = run(*table, s, {0, 1, 2}, {.ghosts = false});
  EXPECT_TRUE(std::isfinite(got.plain[0]) && std::isfinite(got.plain[2 * 64])) << table->isa;
  EXPECT_TRUE(std::isinf(got.plain[64])) << table->isa;
}

EACH_TABLE(AttendHeads);

TEST_P(AttendHeads, EqualsDoubleAndIsAttend) {
  for (size_t d : {2, 16, 48, 64, 80, 128, 256})
    for (auto [n, m] : {std::pair<size_t, size_t>{1, 1}, {14, 2}, {14, 14}, {40, 70}}) {
      const Scene s = make_scene(n, m, d, std::vector<int>(n, int(m)));
      Guarded<float> out(n * d), alone(d);
      table->attend_heads(s.q.data(), n, s.k.data(), s.v.data(), m, d, out.data());
      const Result attended = run(*table, s, everyone(n), {.ghosts = false});
      EXPECT_TRUE(same(out.data(), attended.plain.data(), n * d)) << table->isa << d;
      for (size_t i = 0; i < n; ++i) {
        const auto expected = truth(s, i, false).first;
        for (size_t l = 0; l < d; ++l) ASSERT_NEAR(out[i * d + l], expected[l], 3e-6);
        table->attend_heads(s.q.data() + i * d, 1, s.k.data(), s.v.data(), m, d, alone.data());
        EXPECT_TRUE(same(out.data() + i * d, alone.data(), d)) << table->isa << i;
      }
    }
}

}  // namespace
}  // namespace revenant
