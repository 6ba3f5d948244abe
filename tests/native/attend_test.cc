// Attention over a cache of many pages against its formula, in double. The authors' cases are all
// shorter than a page, and tests that compare two ways of reading the same pages see nothing.
#include <gtest/gtest.h>

#include <cmath>

#include "support/random_network.h"

namespace revenant {
namespace {

Tensor random_rows(Random& random, int rows, int heads, int width) {
  Tensor x(rows, heads, width);
  for (size_t i = 0; i < x.size(); ++i) x.data()[i] = float(random.normal());
  return x;
}

Qkv<Tensor> random_qkv(Random& random, const Config& c, int rows) {
  return {random_rows(random, rows, c.heads, c.head_dim),
          random_rows(random, rows, c.kv_heads, c.head_dim),
          random_rows(random, rows, c.kv_heads, c.head_dim)};
}

Qkv<Tensor> slice(const Qkv<Tensor>& a, int first, int count) {
  return {a.q.slice(first, count), a.k.slice(first, count), a.v.slice(first, count)};
}

// One sequence, all of its rows.
struct Truth {
  const Config& c;
  const Haunted<Tensor>& a;
  double eta;

  const float* of(const Tensor& x, int row, int head) const {
    return x.row(row) + size_t(head) * size_t(c.head_dim);
  }
  // Output of a row's head: the plain half, then the ghost's.
  std::vector<double> operator()(int row, int head) const {
    const int kv = head * c.kv_heads / c.heads, d = c.head_dim;
    const auto dot = [&](const Tensor& q, const Tensor& k, int key) {
      double sum = 0;
      for (int i = 0; i < d; ++i) sum += double(of(q, row, head)[i]) * of(k, key, kv)[i];
      return sum;
    };
    std::vector<double> weights, out(size_t(2 * d));
    double total = 0;
    for (int key = 0; key <= row; ++key) {
      double score = dot(a.plain.q, a.plain.k, key);
      if (a.has_ghost) score += eta * eta * dot(a.ghost.q, a.ghost.k, key);
      weights.push_back(std::exp(score / std::sqrt(double(d))));
      total += weights.back();
    }
    for (int key = 0; key <= row; ++key)
      for (int i = 0; i < d; ++i) {
        const double p = weights[size_t(key)] / total, v = of(a.plain.v, key, kv)[i];
        out[size_t(i)] += p * v;
        if (a.has_ghost) out[size_t(d + i)] += p * (v + eta * of(a.ghost.v, key, kv)[i]);
      }
    return out;
  }
};

// Two sequences in one step each time, 200 and 90 rows, in pieces that end on no page.
void expect_formula(bool ghosts) {
  const Config c = random_config({.heads = 4, .kv_heads = 2, .head_dim = 16, .phantom = ghosts});
  const float eta = 0.5f;
  Random random(11);
  const int lengths[] = {200, 90}, pieces = 5;
  Haunted<Tensor> all[2];
  for (int s = 0; s < 2; ++s) {
    all[s] = {random_qkv(random, c, lengths[s]), {}, ghosts};
    if (ghosts) all[s].ghost = random_qkv(random, c, lengths[s]);
  }
  Sequence a(c), b(c);
  Sequence* const sequences[] = {&a, &b};
  Threads threads(2);
  for (int piece = 0; piece < pieces; ++piece)
    for (int s = 0; s < 2; ++s) {
      const int rows = lengths[s] / pieces, start = piece * rows;
      Step step;
      step.add(s, start, rows, lengths[s], true);
      reserve(c, step, sequences);
      Executor e(c, kernels(), threads, sequences);
      Haunted<Tensor> part{slice(all[s].plain, start, rows), {}, ghosts};
      if (ghosts) part.ghost = slice(all[s].ghost, start, rows);
      const Halves<Tensor> found = e.attend({0, 1}, part, step, eta);
      sequences[s]->rows += rows;
      const Truth truth{c, all[s], eta};
      for (int row = 0; row < rows; ++row)
        for (int head = 0; head < c.heads; ++head) {
          const std::vector<double> expected = truth(start + row, head);
          for (int i = 0; i < c.head_dim; ++i) {
            const size_t at = size_t(head * c.head_dim + i);
            ASSERT_NEAR(found.plain.row(row)[at], expected[size_t(i)], 1e-5)
                << "sequence " << s << " row " << start + row;
            if (!ghosts) continue;
            ASSERT_NEAR(found.ghost.row(row)[at], expected[size_t(c.head_dim + i)], 1e-5)
                << "sequence " << s << " row " << start + row;
          }
        }
    }
}

TEST(Attend, EqualsItsFormulaOverManyPages) { expect_formula(false); }
TEST(Attend, EqualsItsFormulaOverManyPagesWithGhosts) { expect_formula(true); }

}  // namespace
}  // namespace revenant
