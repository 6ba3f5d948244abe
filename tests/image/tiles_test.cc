// Tiling: the promises that hold for every picture and rule.
#include "image/tiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "encoders.h"
#include "image/resize.h"

namespace revenant {
namespace {

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

// (level / 255 - mean) / std in [tile][channel][y][x], whatever the size: 64 is the shipped
// model's.
TEST(Tiles, NormaliseIsThePlainFormula) {
  for (const int size : {1, 28, 56, 64, 70, 224, 336, 448, 490})
    for (const TileRule& rule : {TileRule{.size = size}, clip_rule(size)}) {
      const std::vector<Image> tiles{noise(size, size, 1), noise(size, size, 2)};
      const std::vector<float> values = normalise(tiles, rule);
      ASSERT_EQ(values.size(), size_t(2 * 3 * size * size));
      Random random{uint64_t(size)};
      for (int n = 0; n < 200; ++n) {
        const size_t side = size_t(size), t = random.below(2), c = random.below(3);
        const size_t y = random.below(side), x = random.below(side);
        const double level = tiles[t].rgb[(y * side + x) * 3 + c];
        const double mean = rule.whole ? std::array{0.48145466, 0.4578275, 0.40821073}[c]
                                       : std::array{0.485, 0.456, 0.406}[c];
        const double std = rule.whole ? std::array{0.26862954, 0.26130258, 0.27577711}[c]
                                      : std::array{0.229, 0.224, 0.225}[c];
        EXPECT_NEAR(values[((t * 3 + c) * side + y) * side + x], (level / 255 - mean) / std, 2e-6)
            << size;
      }
    }
}

// Tiles row by row, then the thumbnail, at the sizes of released and shipped models and others.
TEST(Tiles, AreCutFromTheResizedPictureInOrder) {
  for (const int size : {28, 56, 64, 448})
    for (const auto& [w, h] : {std::pair(300, 200), {90, 200}, {130, 131}}) {
      const Image image = noise(w, h, 3);
      for (const bool thumbnail : {false, true}) {
        const Tiles tiles = tile(image, {.size = size, .thumbnail = thumbnail});
        const auto [columns, rows] = tiles.grid;
        const Image resized = resize_bicubic(image, size * columns, size * rows);
        ASSERT_EQ(int(tiles.tiles.size()), columns * rows + (thumbnail && columns * rows > 1));
        for (int i = 0; i < columns * rows; ++i)
          EXPECT_TRUE(tiles.tiles[size_t(i)] ==
                      cut(resized, i % columns * size, i / columns * size, size, size));
        if (!thumbnail || columns * rows == 1) continue;
        EXPECT_TRUE(tiles.tiles.back() == resize_bicubic(image, size, size));
      }
    }
}

// The rule as InternVL's authors wrote it, over the list of grids in their order: by cells, then as
// they were listed (columns first); nearest shape, and on a tie the later one if the picture has
// more than half its pixels.
Grid grid_of_the_authors(int width, int height, int size, int most) {
  std::vector<Grid> grids;
  for (int cells = 1; cells <= most; ++cells)
    for (int columns = 1; columns <= cells; ++columns)
      if (cells % columns == 0) grids.push_back({columns, cells / columns});
  Grid best{1, 1};
  double nearest = 1e300;
  for (const Grid grid : grids) {
    const double distance = std::abs(double(width) / height - double(grid.columns) / grid.rows);
    if (distance < nearest) {
      nearest = distance;
      best = grid;
    } else if (distance == nearest &&
               double(width) * height > 0.5 * size * size * grid.columns * grid.rows) {
      best = grid;
    }
  }
  return best;
}

TEST(Tiles, TiesGoToTheLargerGridIfThePictureFillsIt) {
  // 1 x 1 against 2 x 2: more than half of 4 * 100 * 100 pixels is 20,000; 141 squared is 19,881.
  EXPECT_EQ(choose_grid(141, 141, {.size = 100}), (Grid{1, 1}));
  EXPECT_EQ(choose_grid(142, 142, {.size = 100}), (Grid{2, 2}));
  EXPECT_EQ(choose_grid(200, 100, {.size = 100, .max_tiles = 8}),
            (Grid{2, 1}));  // 20,000 of 40,000
  EXPECT_EQ(choose_grid(284, 142, {.size = 100, .max_tiles = 8}), (Grid{4, 2}));
  Random random(12);
  for (int n = 0; n < 2000; ++n) {
    const int size = std::array{28, 56, 64, 448}[random.below(4)], most = int(1 + random.below(12));
    const int unit = int(1 + random.below(400));  // simple ratios: many ties
    const int width = unit * int(1 + random.below(6)), height = unit * int(1 + random.below(6));
    EXPECT_EQ(choose_grid(width, height, {.size = size, .max_tiles = most}),
              grid_of_the_authors(width, height, size, most))
        << width << " x " << height << ", " << size << ", " << most;
  }
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
  EXPECT_EQ(concatenate(two, {.max_pixels = 11300}).width, 113);
}

}  // namespace
}  // namespace revenant
