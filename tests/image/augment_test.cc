// What training may do to a picture.
#include "image/augment.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace revenant {
namespace {

// Pixel (x, y) holds 10 y + x in all three channels.
Image numbered(int width, int height) {
  Image image = blank_image(width, height);
  for (size_t i = 0; i < image.rgb.size(); ++i)
    image.rgb[i] = uint8_t(i / 3 / size_t(width) * 10 + i / 3 % size_t(width));
  return image;
}

int level(const Image& image, int x, int y) {
  const uint8_t* p = &image.rgb[size_t(y * image.width + x) * 3];
  EXPECT_TRUE(p[0] == p[1] && p[1] == p[2]);
  return p[0];
}

TEST(Augment, MirrorSwapsLeftAndRight) {
  const Image image = numbered(4, 3), other = mirrored(image);
  for (int y = 0; y < 3; ++y)
    for (int x = 0; x < 4; ++x) EXPECT_EQ(level(other, x, y), 10 * y + 3 - x);
  EXPECT_EQ(mirrored(other).rgb, image.rgb);
}

TEST(Augment, ShiftMovesAndRepeatsTheEdge) {
  const Image moved = shifted(numbered(4, 3), 1, -2);  // right by one, up by two
  for (int y = 0; y < 3; ++y)
    for (int x = 0; x < 4; ++x) EXPECT_EQ(level(moved, x, y), 20 + std::max(0, x - 1));
  EXPECT_EQ(shifted(numbered(4, 3), 0, 0).rgb, numbered(4, 3).rgb);
  EXPECT_EQ(level(shifted(numbered(4, 3), 9, 9), 3, 2), 0);
}

}  // namespace
}  // namespace revenant
