#include <algorithm>
#include <numeric>

#include "kernels/guarded.h"

namespace revenant {
namespace {

// Queries over one key/value head, everything in exactly as much memory as it needs.
struct Scene {
  size_t queries, keys, d, stride;
  Guarded<float> q, gq, k, v, gk, gv;
  std::vector<int> counts;
  float scale, eta;
};

Scene make_scene(size_t queries, size_t keys, size_t d, std::vector<int> counts) {
  const size_t stride = d + d % 32, size = (keys - 1) * stride + d;
  return {queries,
          keys,
          d,
          stride,
          normals(queries * d, 1),
          normals(queries * d, 2),
          normals(size, 3),
          normals(size, 4),
          normals(size, 5),
          normals(size, 6),
          std::move(counts),
          1 / std::sqrt(float(d)),
          0.7f};
}

// k, v, gk, gv in another type; where nothing is stored, nothing is read.
struct Stored {
  WeightType type;
  Guarded<uint16_t> k, v, gk, gv;
};

Guarded<uint16_t> narrowed(const Guarded<float>& x, WeightType type) {
  Guarded<uint16_t> out(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    out[i] = type == WeightType::f16 ? to_f16(x[i]) : to_bf16(x[i]);
  return out;
}

template <class T>
std::vector<const void*> blocks_of(const T* rows, const Scene& s) {
  std::vector<const void*> blocks;
  for (size_t j = 0; j < s.keys; j += key_block) blocks.push_back(rows + j * s.stride);
  return blocks;
}

struct Result {
  std::vector<float> plain, ghost;
};

// The queries named by `chosen`, in that order, in one call.
Result run(const Kernels& table, const Scene& s, const std::vector<size_t>& chosen, bool ghosts,
           const Stored* stored = nullptr, bool quiet = false) {
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
  a.stride = s.stride, a.scale = s.scale, a.eta = s.eta, a.plain = to_plain.data();
  if (stored) a.type = stored->type;
  const auto blocks = [&](const Guarded<float>& floats, const Guarded<uint16_t> Stored::*halves) {
    return stored ? blocks_of((stored->*halves).data(), s) : blocks_of(floats.data(), s);
  };
  const auto k = blocks(s.k, &Stored::k), v = blocks(s.v, &Stored::v),
             gk = blocks(s.gk, &Stored::gk), gv = blocks(s.gv, &Stored::gv);
  a.k = k.data(), a.v = v.data();
  if (ghosts) a.gq = gq.data(), a.gk = gk.data(), a.gv = gv.data(), a.ghost = to_ghost.data();
  if (quiet) a.gq = nullptr, a.gk = nullptr;
  table.attend(a);
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
    score[j] = dot(s.q.data() + i * s.d, s.k.data() + j * s.stride, s.d);
    if (ghosts)
      score[j] +=
          double(s.eta) * s.eta * dot(s.gq.data() + i * s.d, s.gk.data() + j * s.stride, s.d);
    top = std::max(top, score[j] *= s.scale);
  }
  for (double& p : score) total += p = std::exp(p - top);
  for (size_t j = 0; j < score.size(); ++j)
    for (size_t l = 0; l < s.d; ++l) {
      plain[l] += score[j] / total * s.v[j * s.stride + l];
      ghost[l] += score[j] / total * s.gv[j * s.stride + l];
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
void check_against_double(const Kernels& table, const Scene& s, bool ghosts) {
  const Result got = run(table, s, everyone(s.queries), ghosts);
  for (size_t i = 0; i < s.queries; ++i) {
    const auto [plain, ghost] = truth(s, i, ghosts);
    for (size_t l = 0; l < s.d; ++l) {
      ASSERT_NEAR(got.plain[i * s.d + l], plain[l], 3e-6)
          << table.isa << " query " << i << " sees " << s.counts[i] << " d " << s.d;
      ASSERT_NEAR(got.ghost[i * s.d + l], ghosts ? ghost[l] : 0, 5e-6) << table.isa << " " << i;
    }
  }
}

EACH_TABLE(Attend);

TEST_P(Attend, EqualsDouble) {
  for (size_t d : {1, 7, 16, 48, 64, 80, 96, 100, 128, 256})
    for (bool ghosts : {false, true})
      check_against_double(*table, make_scene(9, 200, d, {1, 2, 63, 64, 65, 127, 128, 129, 200}),
                           ghosts);
}

TEST_P(Attend, EveryCountAlone) {
  std::vector<int> counts(201);
  std::iota(counts.begin(), counts.end(), 0);

  check_against_double(*table, make_scene(201, 200, 48, counts), true);
}

// 16-bit keys and values are read as the floats they stand for; the arithmetic is the same.
TEST_P(Attend, SixteenBitCacheEqualsItsFloats) {
  for (WeightType type : {WeightType::f16, WeightType::bf16})
    for (size_t d : {7, 48, 64, 96, 128}) {
      Scene s = make_scene(7, 200, d, {1, 63, 64, 65, 128, 150, 200});
      const Stored stored{type, narrowed(s.k, type), narrowed(s.v, type), narrowed(s.gk, type),
                          narrowed(s.gv, type)};
      for (auto [to, from] : {std::pair{&s.k, &stored.k}, std::pair{&s.v, &stored.v},
                              std::pair{&s.gk, &stored.gk}, std::pair{&s.gv, &stored.gv}})
        for (size_t i = 0; i < to->size(); ++i)
          (*to)[i] = type == WeightType::f16 ? to_float_f16((*from)[i]) : to_float_bf16((*from)[i]);
      for (bool ghosts : {false, true}) {
        const Result got = run(*table, s, everyone(7), ghosts, &stored);
        const Result floats = run(*table, s, everyone(7), ghosts);
        EXPECT_TRUE(same(got.plain.data(), floats.plain.data(), 7 * d)) << table->isa << d;
        EXPECT_TRUE(same(got.ghost.data(), floats.ghost.data(), 7 * d)) << table->isa << d;
      }
    }
}

// Without ghosts in the scores the values' are as with those of queries that are 0.
TEST_P(Attend, QuietGhostsAreThoseOfZeros) {
  for (size_t d : {7, 48, 64, 128}) {
    Scene s = make_scene(7, 200, d, {1, 63, 64, 65, 128, 150, 200});
    const Result quiet = run(*table, s, everyone(7), true, nullptr, true);
    for (size_t i = 0; i < s.gq.size(); ++i) s.gq[i] = 0;
    const Result zeros = run(*table, s, everyone(7), true);
    EXPECT_TRUE(same(quiet.plain.data(), zeros.plain.data(), 7 * d)) << table->isa << d;
    EXPECT_TRUE(same(quiet.ghost.data(), zeros.ghost.data(), 7 * d)) << table->isa << d;
  }
}

// Sees nothing, says nothing; and what follows the last visible key is never read.
TEST_P(Attend, ReadsOnlyWhatIsSeen) {
  for (int count : {0, 1, 15, 64, 70}) {
    Scene s = make_scene(2, 200, 64, {count, count});
    for (Guarded<float>* part : {&s.k, &s.v, &s.gk, &s.gv})
      for (size_t i = size_t(count) * s.stride; i < part->size(); ++i) (*part)[i] = NAN;
    const Result got = run(*table, s, {0, 1}, true);
    for (float x : got.ghost) ASSERT_TRUE(count ? std::isfinite(x) : x == 0) << table->isa;
  }
}

TEST_P(Attend, QueryIsTheSameInAnyCompany) {
  Random random(9);
  std::vector<int> counts(60);
  for (int& count : counts) count = int(random.below(201));
  counts[0] = 0, counts[1] = 64, counts[2] = 65, counts[3] = 63, counts[4] = 128, counts[5] = 200;

  for (size_t d : {16, 48, 64, 80, 96, 128})
    for (bool ghosts : {false, true}) {
      const Scene s = make_scene(60, 200, d, counts);
      std::vector<Result> alone;
      for (size_t i = 0; i < 60; ++i) alone.push_back(run(*table, s, {i}, ghosts));
      for (int round = 0; round < 8; ++round) {
        auto chosen = everyone(60);
        if (round > 0) random.shuffle(chosen);
        if (round > 1) chosen.resize(1 + random.below(59));
        const Result got = run(*table, s, chosen, ghosts);
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
  s.v[69 * s.stride] = std::numeric_limits<float>::infinity();
  const Result got = run(*table, s, {0, 1, 2}, false);
  EXPECT_TRUE(std::isfinite(got.plain[0]) && std::isfinite(got.plain[2 * 64])) << table->isa;
  EXPECT_TRUE(std::isinf(got.plain[64])) << table->isa;
}

EACH_TABLE(AttendHeads);

TEST_P(AttendHeads, EqualsDoubleAndIsAttend) {
  for (size_t d : {16, 48, 64, 80, 128})
    for (auto [n, m] : {std::pair<size_t, size_t>{1, 1}, {14, 2}, {14, 14}, {40, 70}}) {
      Scene s = make_scene(n, m, d, std::vector<int>(n, int(m)));
      if (s.stride != d) s.stride = d;
      Guarded<float> k(m * d), v(m * d), out(n * d);
      std::copy_n(s.k.data(), m * d, k.data()), std::copy_n(s.v.data(), m * d, v.data());
      table->attend_heads(s.q.data(), n, k.data(), v.data(), m, d, out.data());
      for (size_t i = 0; i < n; ++i) {
        const auto expected = truth(s, i, false).first;
        for (size_t l = 0; l < d; ++l) ASSERT_NEAR(out[i * d + l], expected[l], 3e-6);
      }
    }
}

}  // namespace
}  // namespace revenant
