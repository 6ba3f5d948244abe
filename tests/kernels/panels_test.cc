// Products of quantised weights: against double, bit-equal to the plain twin on every instruction
// set, and the same for any number of rows and any split of the outputs.
#include "kernels/panels.h"

#include "kernels/guarded.h"

namespace revenant {
namespace {

constexpr Format quantised[] = {Format::q8_0, Format::q6_k, Format::q5_k, Format::q5_1,
                                Format::q5_0, Format::q4_k, Format::q4_1, Format::q4_0};

struct Weights {
  Format format;
  size_t n, k;
  Guarded<uint8_t> panels;
  std::vector<float> values;  // what the blocks mean

  WeightView view(size_t begin = 0, size_t end = size_t(-1)) const {
    return {format, panels.data() + begin / panel_outputs * panel_sizes(format, k).panel,
            std::min(end, n) - begin, k};
  }
};

// Rows of blocks, in panels and as floats; `x` [n, k].
Weights packed(Format format, size_t n, size_t k, const float* x) {
  Weights w{format, n, k, Guarded<uint8_t>(panels_bytes(format, n, k)), std::vector<float>(n * k)};
  const size_t bytes = row_bytes(format, k);
  std::vector<std::byte> blocks(n * bytes);
  for (size_t j = 0; j < n; ++j) {
    pack_row(format, {x + j * k, k}, blocks.data() + j * bytes);
    unpack_row(format, blocks.data() + j * bytes, {w.values.data() + j * k, k});
  }
  for (size_t j = 0; j < n; j += panel_outputs) {
    const size_t count = std::min(panel_outputs, n - j);
    const std::byte* rows[panel_outputs];
    for (size_t i = 0; i < count; ++i) rows[i] = blocks.data() + (j + i) * bytes;
    pack_panel(format, rows, count, k,
               reinterpret_cast<std::byte*>(w.panels.data()) +
                   j / panel_outputs * panel_sizes(format, k).panel);
  }
  return w;
}

// Of normal numbers.
Weights make(Format format, size_t n, size_t k, uint64_t seed) {
  return packed(format, n, k, normals(n * k, seed).data());
}

std::vector<size_t> depths(Format format) {
  return info(format).block == 256 ? std::vector<size_t>{256, 768, 1280}
                                   : std::vector<size_t>{32, 96, 480, 544, 1056};
}

template <class F>
void for_each_weights(const F& test) {
  for (const Format format : quantised)
    for (const size_t k : depths(format))
      for (const size_t n : {1, 15, 16, 17, 31, 32, 33, 50}) test(make(format, n, k, n + k));
}

TEST(Panels, RowsComeBackAsTheBlocksHadThem) {
  for_each_weights([](const Weights& w) {
    std::vector<float> row(w.k);
    for (size_t j = 0; j < w.n; ++j) {
      unpack_panel_row(w.format, reinterpret_cast<const std::byte*>(w.panels.data()), w.k, j,
                       row.data());
      ASSERT_TRUE(same(row.data(), w.values.data() + j * w.k, w.k)) << info(w.format).name << j;
    }
  });
}

EACH_TABLE(Int8);

// An input is off by half a step of its block's largest / 127 at most.
TEST_P(Int8, EqualsDoubleWithinTheInputsRounding) {
  for (const Format format : quantised) {
    const size_t rows = 7, n = 33, k = 768;
    const Weights w = make(format, n, k, 3);
    const auto x = normals(rows * k, 4), bias = normals(n, 5);
    const auto out = product_of(*table, w.view(), x.data(), rows, bias.data());
    for (size_t r = 0; r < rows; ++r)
      for (size_t j = 0; j < n; ++j) {
        double expected = double(bias[j]), bound = 1e-4;
        for (size_t i = 0; i < k; i += unit_k) {
          double top = 0;
          for (size_t l = i; l < i + unit_k; ++l)
            top = std::max(top, double(std::abs(x[r * k + l])));
          for (size_t l = i; l < i + unit_k; ++l) {
            const double weight = double(w.values[j * k + l]);
            expected += double(x[r * k + l]) * weight;
            bound += std::abs(weight) * top / 254 / 4;  // errors of both signs: a quarter is ample
          }
        }
        ASSERT_NEAR(out[r * n + j], expected, bound) << table->isa << info(format).name;
      }
  }
}

// An infinity or a NaN among the inputs is seen in the row's outputs, and in no other row's.
TEST_P(Int8, WhatIsNotFiniteStaysSo) {
  for (const float bad : {INFINITY, -INFINITY, std::nanf("")}) {
    const Weights w = make(Format::q4_k, 17, 256, 1);
    const auto x = normals(3 * 256, 2);
    x[256 + 77] = bad;
    const auto out = product_of(*table, w.view(), x.data(), 3);
    for (size_t j = 0; j < 17; ++j) {
      EXPECT_TRUE(std::isfinite(out[j]) && std::isfinite(out[34 + j])) << table->isa;
      EXPECT_FALSE(std::isfinite(out[17 + j])) << table->isa << " " << bad;
    }
  }
}

TEST_P(Int8, TinyAndZeroInputsGiveZero) {
  const Weights w = make(Format::q8_0, 16, 32, 1);
  for (const float x : {0.0f, 1e-38f, 1e-42f}) {
    const Guarded<float> row(32, x);
    const auto out = product_of(*table, w.view(), row.data(), 1);
    for (size_t j = 0; j < 16; ++j) EXPECT_LE(std::abs(out[j]), 1e-35f) << table->isa << x;
  }
}

TEST_P(Int8, EqualsTheTwinBitForBit) {
  const Kernels& twin = *kernels_for("generic");
  for_each_weights([&](const Weights& w) {
    const size_t rows = 1 + w.n % 4 * 3;
    const auto x = normals(rows * w.k, w.n), bias = normals(w.n, 5);
    const auto mine = product_of(*table, w.view(), x.data(), rows, bias.data()),
               its = product_of(twin, w.view(), x.data(), rows, bias.data());
    ASSERT_TRUE(same(mine.data(), its.data(), rows * w.n))
        << table->isa << " " << info(w.format).name << " " << w.n << " x " << w.k;
  });
}

// The largest products of all at once: nowhere may a sum be too narrow. Weights of either end of
// the numbers (1: the highest, -1: the lowest), inputs of either sign.
TEST_P(Int8, TheLargestSumsAreExact) {
  const Kernels& twin = *kernels_for("generic");
  for (const Format format : quantised)
    for (const float sign : {1.0f, -1.0f})
      for (const size_t rows : {1, 5}) {
        const size_t k = depths(format).back(), n = 32;
        std::vector<float> values(n * k, sign);
        for (size_t i = 0; i < n * k; i += 32) values[i] = -sign;  // a block's other end
        const Weights w = packed(format, n, k, values.data());
        const Guarded<float> x(rows * k, 3.0f);
        ASSERT_TRUE(same(product_of(*table, w.view(), x.data(), rows).data(),
                         product_of(twin, w.view(), x.data(), rows).data(), rows * n))
            << table->isa << " " << info(format).name << sign;
      }
}

TEST_P(Int8, RowIsTheSameInAnyCompany) {
  const size_t n = 33, most = 100;
  for (const Format format : quantised) {
    const size_t k = depths(format).back();
    const Weights w = make(format, n, k, 6);
    const auto x = normals(most * k, 7);
    const auto all = product_of(*table, w.view(), x.data(), most);
    for (const size_t rows : {1, 2, 3, 5, 6, 7, 8, 16, 17, 64})
      for (const size_t r : {size_t(0), most - rows})
        ASSERT_TRUE(same(product_of(*table, w.view(), x.data() + r * k, rows).data(),
                         all.data() + r * n, rows * n))
            << table->isa << " " << info(format).name << " rows " << rows;
  }
}

// More rows and K than a strip and a piece hold.
TEST_P(Int8, RowIsTheSameInAnyStripAndPiece) {
  const size_t n = 17;
  for (const Format format : quantised)
    for (const auto& [rows, k] : {std::pair<size_t, size_t>{300, 4608}, {1026, 1280}}) {
      const Weights w = make(format, n, k, 6);
      const auto x = normals(rows * k, 7);
      const auto all = product_of(*table, w.view(), x.data(), rows);
      for (size_t r = 0; r < rows; r += r % 6 == 0 ? 5 : 1)
        ASSERT_TRUE(
            same(product_of(*table, w.view(), x.data() + r * k, 1).data(), all.data() + r * n, n))
            << table->isa << " " << info(format).name << " row " << r << " of " << rows;
    }
}

TEST_P(Int8, OutputIsTheSameInAnySplit) {
  const size_t n = 70, k = 256, rows = 9;
  for (const Format format : quantised) {
    const Weights w = make(format, n, k, 8);
    const auto x = normals(rows * k, 9);
    const auto all = product_of(*table, w.view(), x.data(), rows);
    for (const size_t part : {16, 32, 48})
      for (size_t j = 0; j < n; j += part) {
        const size_t count = std::min(part, n - j);
        const auto some = product_of(*table, w.view(j, j + count), x.data(), rows);
        for (size_t r = 0; r < rows; ++r)
          ASSERT_TRUE(same(some.data() + r * count, all.data() + r * n + j, count)) << table->isa;
      }
  }
}

}  // namespace
}  // namespace revenant
