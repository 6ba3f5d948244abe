// Products of 8 bits per channel and per token: sums of whole numbers over all of K.
#include "kernels/guarded.h"
#include "kernels/panels.h"
#include "quant/format.h"

namespace revenant {
namespace {

// [n, k] of which each row has one scale, in panels whose last one ends where memory does.
struct Channels {
  Channels(size_t n, size_t k, uint64_t seed)
      : n(n), k(k), panels(panels_bytes(Format::q8_0, n, k)) {
    const auto x = normals(n * k, seed);
    const size_t bytes = row_bytes(Format::q8_0, k);
    std::vector<std::byte> rows(panel_outputs * bytes);
    for (size_t j = 0; j < n; j += panel_outputs) {
      const size_t count = std::min(panel_outputs, n - j);
      const std::byte* lines[panel_outputs];
      for (size_t i = 0; i < count; ++i) {
        pack_channel({x.data() + (j + i) * k, k}, rows.data() + i * bytes);
        lines[i] = rows.data() + i * bytes;
      }
      pack_panel(Format::q8_0, lines, count, k,
                 panels.data() + j / panel_outputs * panel_sizes(Format::q8_0, k).panel);
    }
  }
  WeightView view() const { return {Format::q8_0, panels.data(), n, k, false, true}; }
  size_t n, k;
  Guarded<std::byte> panels;
};

EACH_TABLE(PerChannel);

// Sizes around every edge of vectors, tiles and blocks, and K that is no multiple of 64.
TEST_P(PerChannel, EqualsTheTwinBitForBit) {
  const Kernels& twin = *kernels_for("generic");
  for (const size_t k : {32, 64, 96, 512, 1056})
    for (const size_t n : {1, 15, 16, 17, 32, 33, 49}) {
      const Channels w(n, k, n + k);
      const auto bias = normals(n, 5);
      for (const size_t rows : {1, 2, 5, 6, 11, 12, 13, 31, 32, 33, 47, 64, 70}) {
        const auto x = normals(rows * k, rows);
        const float* some = rows % 2 ? bias.data() : nullptr;
        const auto mine = product_of(*table, w.view(), x.data(), rows, some),
                   its = product_of(twin, w.view(), x.data(), rows, some);
        ASSERT_TRUE(same(mine.data(), its.data(), rows * n))
            << table->isa << " " << rows << " x " << n << " x " << k;
      }
    }
}

// A strip of rows is as long as the second cache has room for.
TEST_P(PerChannel, StripsAreNotSeen) {
  const Kernels& twin = *kernels_for("generic");
  const size_t k = 4096, n = 17, rows = 230;
  const Channels w(n, k, 1);
  const auto x = normals(rows * k, 2);
  ASSERT_TRUE(same(product_of(*table, w.view(), x.data(), rows).data(),
                   product_of(twin, w.view(), x.data(), rows).data(), rows * n))
      << table->isa;
}

TEST_P(PerChannel, IsNearDoubles) {
  const size_t k = 1024, n = 20, rows = 40;
  const Channels w(n, k, 3);
  const auto x = normals(rows * k, 4), bias = normals(n, 5);
  const auto out = product_of(*table, w.view(), x.data(), rows, bias.data());
  std::vector<float> values(k);
  for (size_t j = 0; j < n; ++j) {
    const std::byte* panel =
        w.panels.data() + j / panel_outputs * panel_sizes(Format::q8_0, k).panel;
    for (size_t i = 0; i < k; ++i) {
      const PanelNumber number = panel_number(Format::q8_0, panel, k, j % panel_outputs, i);
      values[i] = float(number.q - 128) * number.scale;
    }
    for (size_t r = 0; r < rows; ++r) {
      double expected = double(bias[j]), squares = 0;
      for (size_t i = 0; i < k; ++i) {
        expected += double(x[r * k + i]) * double(values[i]);
        squares += double(values[i]) * double(values[i]);
      }
      // Each input is off by at most 1/254 of the row's largest (4), evenly spread.
      ASSERT_NEAR(out[r * n + j], expected, 5 * std::sqrt(squares) * 4.5 / 254 / std::sqrt(3.0));
    }
  }
}

// The largest products of all at once; weights and inputs of either sign.
TEST_P(PerChannel, TheLargestSumsAreExact) {
  const Kernels& twin = *kernels_for("generic");
  const size_t k = 16384, n = 16;
  std::vector<float> values(k);
  for (const float sign : {1.0f, -1.0f}) {
    std::fill(values.begin(), values.end(), sign);
    std::vector<std::byte> row(row_bytes(Format::q8_0, k));
    pack_channel(values, row.data());
    const std::byte* lines[panel_outputs];
    std::fill_n(lines, n, row.data());
    std::vector<std::byte> panel(panels_bytes(Format::q8_0, n, k) + 63);
    auto* at = panel.data() + (64 - reinterpret_cast<uintptr_t>(panel.data()) % 64) % 64;
    pack_panel(Format::q8_0, lines, n, k, at);
    const WeightView w{Format::q8_0, at, n, k, false, true};
    for (const size_t rows : {1, 33}) {
      const Guarded<float> x(rows * k, 3.0f);
      const auto out = product_of(*table, w, x.data(), rows);
      ASSERT_TRUE(same(out.data(), product_of(twin, w, x.data(), rows).data(), rows * n))
          << table->isa;
      EXPECT_NEAR(out[0], sign * 3 * float(k), 0.001 * 3 * double(k));
    }
  }
}

TEST_P(PerChannel, WhatIsNotFiniteStaysInItsRow) {
  const Channels w(17, 96, 1);
  for (const float bad : {INFINITY, -INFINITY, std::nanf("")})
    for (const size_t rows : {3, 40}) {
      const auto x = normals(rows * 96, 2);
      x[96 + 77] = bad;
      const auto out = product_of(*table, w.view(), x.data(), rows);
      for (size_t j = 0; j < 17; ++j) {
        EXPECT_TRUE(std::isfinite(out[j]) && std::isfinite(out[34 + j])) << table->isa;
        EXPECT_FALSE(std::isfinite(out[17 + j])) << table->isa << " " << bad;
      }
    }
}

}  // namespace
}  // namespace revenant
