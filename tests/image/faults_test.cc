// Planted faults: what a wrong tiler would hand to the model must be refused by the same comparison
// that the conformance test uses.
#include <gtest/gtest.h>

#include <algorithm>

#include "image/resize.h"
#include "image_golden.h"

namespace revenant {
namespace {

using namespace golden;

Tiles faithful(Tiles tiles) { return tiles; }

Tiles column_order(Tiles tiles) {
  std::vector<Image> wrong;
  for (int column = 0; column < tiles.grid.columns; ++column)
    for (int row = 0; row < tiles.grid.rows; ++row)
      wrong.push_back(tiles.tiles[size_t(row * tiles.grid.columns + column)]);
  std::ranges::copy(wrong, tiles.tiles.begin());
  return tiles;
}

Tiles thumbnail_first(Tiles tiles) {
  std::ranges::rotate(tiles.tiles, tiles.tiles.end() - 1);
  return tiles;
}

Tiles thumbnail_is_first_tile(Tiles tiles) {
  tiles.tiles.back() = tiles.tiles.front();
  return tiles;
}

class ImageFaults : public ImageTest {
 protected:
  void SetUp() override {
    ImageTest::SetUp();
    if (IsSkipped()) return;
    for (const std::string& name : golden.files())
      if (shows_faults(name)) file = name;
    if (file.empty() && other_folder())
      GTEST_SKIP() << "REVENANT_CONFORMANCE: no picture of a grid with columns and rows";
    ASSERT_FALSE(file.empty());
  }
  // A grid of columns and rows, at both sizes, and what a test compares is there.
  bool shows_faults(const std::string& name) const {
    const auto& entry = golden.entry(name);
    const auto both = [&](const char* grid) { return entry[grid][0] > 1 && entry[grid][1] > 1; };
    return both("grid_448") && both("grid_small") && golden.tensors.has(name + "/tiles_small");
  }
  // Are both goldens, at 448 and at 28, refused?
  bool caught(TileRule rule, Tiles (*fault)(Tiles)) const {
    const Image image = golden.read(file);
    TileRule small = rule;
    small.size = 28;
    return !compare_448(golden, file, fault(tile(image, rule)), rule).empty() &&
           !compare_28(golden, file, fault(tile(image, small)), small).empty();
  }
  std::string file;
};

TEST_F(ImageFaults, NoFaultPasses) {
  const Image image = golden.read(file);
  EXPECT_EQ(compare_448(golden, file, tile(image, rule_448), rule_448), Complaints{});
  EXPECT_EQ(compare_28(golden, file, tile(image, rule_28), rule_28), Complaints{});
}

TEST_F(ImageFaults, ColumnOrder) { EXPECT_TRUE(caught(rule_448, column_order)); }

TEST_F(ImageFaults, ThumbnailFirst) { EXPECT_TRUE(caught(rule_448, thumbnail_first)); }

TEST_F(ImageFaults, ThumbnailIsFirstTile) {
  EXPECT_TRUE(caught(rule_448, thumbnail_is_first_tile));
}

TEST_F(ImageFaults, NoThumbnail) {
  TileRule rule = rule_448;
  rule.thumbnail = false;
  EXPECT_TRUE(caught(rule, faithful));
}

TEST_F(ImageFaults, OneWrongMeanOrStd) {
  for (size_t c = 0; c < 3; ++c) {
    TileRule mean = rule_448, std = rule_448;
    mean.mean[c] = clip_mean[c];  // the likeliest mistake: the other tower's numbers
    std.std[c] = imagenet_std[c] + 0.001f;
    EXPECT_TRUE(caught(mean, faithful)) << c;
    EXPECT_TRUE(caught(std, faithful)) << c;
  }
}

TEST_F(ImageFaults, ResizeWithoutAntialias) {
  const Image image = golden.read(file);
  Tiles tiles = tile(image, rule_28);
  tiles.tiles.back() = resize_bicubic_torch(image, 28, 28);
  EXPECT_FALSE(compare_28(golden, file, tiles, rule_28).empty());
}

}  // namespace
}  // namespace revenant
