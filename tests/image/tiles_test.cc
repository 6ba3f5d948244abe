// Tiling: the promises that hold for every picture and rule.
#include "image/tiles.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/random.h"
#include "image/resize.h"

namespace revenant {
namespace {

Image noise(int width, int height, uint64_t seed) {
  Random random(seed);
  Image image = blank_image(width, height);
  for (auto& level : image.rgb) level = uint8_t(random.below(256));
  return image;
}

Image cut(const Image& image, int left, int top, int width, int height) {
  Image out = blank_image(width, height);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width * 3; ++x)
      out.rgb[size_t(y * width * 3 + x)] =
          image.rgb[size_t(((top + y) * image.width + left) * 3 + x)];
  return out;
}

TEST(Tiles, RandomSizesAndRules) {
  Random random(11);
  for (int n = 0; n < 200; ++n) {
    const TileRule rule{.size = int(1 + random.below(40)),
                        .max_tiles = int(1 + random.below(12)),
                        .thumbnail = random.below(2) == 0};
    const Image image = noise(int(1 + random.below(200)), int(1 + random.below(200)), n);
    const Tiles tiles = tile(image, rule);
    const int cells = tiles.grid.cells();
    ASSERT_GE(cells, 1);
    ASSERT_LE(cells, rule.max_tiles);
    ASSERT_EQ(int(tiles.tiles.size()), cells + (rule.thumbnail && cells > 1));
    const size_t values = normalise(tiles.tiles, rule).size();
    ASSERT_EQ(values, tiles.tiles.size() * 3 * size_t(rule.size * rule.size));
    ASSERT_GE(contact_sheet(tiles).width, rule.size * tiles.grid.columns);
  }
}

TEST(Tiles, ExtremeShapes) {
  for (const auto& [w, h] : {std::pair(1, 1), {1, 65535}, {65535, 1}, {16384, 2}}) {
    const Tiles tiles = tile(noise(w, h, 2), {.size = 28});
    EXPECT_EQ(tiles.grid, (w == h ? Grid{1, 1} : w > h ? Grid{6, 1} : Grid{1, 6}));
    EXPECT_EQ(tiles.tiles.size(), w == h ? 1u : 7u);
  }
}

TEST(Tiles, TheNearestShapeWins) {
  Random random(5);
  const TileRule rule;
  for (int n = 0; n < 500; ++n) {
    const int width = int(1 + random.below(3000)), height = int(1 + random.below(3000));
    const Grid grid = choose_grid(width, height, rule);
    const double shape = double(width) / height;
    const double distance = std::abs(shape - double(grid.columns) / grid.rows);
    for (int columns = 1; columns <= 6; ++columns)
      for (int rows = 1; columns * rows <= 6; ++rows)
        EXPECT_LE(distance, std::abs(shape - double(columns) / rows));
  }
}

TEST(Tiles, WholeIsTorchsResize) {
  const Image image = noise(90, 40, 4);
  const Tiles tiles = tile(image, clip_rule(35));
  ASSERT_EQ(tiles.tiles.size(), 1u);
  EXPECT_TRUE(tiles.tiles[0] == resize_bicubic_torch(image, 35, 35));
}

TEST(Tiles, NormaliseRefusesForeignTiles) {
  const std::vector<Image> tiles{noise(4, 4, 1)};
  EXPECT_THROW(normalise(tiles, {.size = 5}), CheckFailed);
}

// Every tile can be found where the grid says, and the thumbnail apart from them.
TEST(ContactSheet, ShowsEveryTileInItsPlace) {
  for (const auto& [w, h] : {std::pair(300, 200), {600, 100}, {100, 600}, {50, 50}}) {
    const TileRule rule{.size = 56};
    const Tiles tiles = tile(noise(w, h, 6), rule);
    const Image sheet = contact_sheet(tiles);
    const int gap = 2, step = rule.size + gap;
    const auto [columns, rows] = tiles.grid;
    for (int i = 0; i < columns * rows; ++i)
      EXPECT_TRUE(cut(sheet, gap + i % columns * step, gap + i / columns * step, 56, 56) ==
                  tiles.tiles[size_t(i)]);
    if (tiles.tiles.size() == 1) continue;
    const int left = rows == 1 ? gap : sheet.width - gap - 56;
    const int top = rows == 1 ? sheet.height - gap - 56 : gap;
    EXPECT_TRUE(cut(sheet, left, top, 56, 56) == tiles.tiles.back());
    EXPECT_EQ(sheet.rgb[0], 255);
  }
}

TEST(Concatenate, StaysWithinTheLimits) {
  const std::vector<Image> one{noise(5, 3, 1)};
  EXPECT_TRUE(concatenate(one) == one[0]);
  const std::vector<Image> two{noise(100, 3, 1), noise(3, 100, 2)};
  const Image joined = concatenate(two);
  EXPECT_EQ(joined.width, 113);
  EXPECT_EQ(joined.height, 100);
  EXPECT_TRUE(cut(joined, 0, 48, 100, 3) == two[0]);
  EXPECT_TRUE(cut(joined, 110, 0, 3, 100) == two[1]);
  EXPECT_TRUE(cut(joined, 100, 0, 10, 100) == blank_image(10, 100));
  EXPECT_THROW(concatenate(two, {.max_pixels = 11299}), Error);
  EXPECT_THROW(concatenate(two, {.max_side = 112}), Error);
}

}  // namespace
}  // namespace revenant
