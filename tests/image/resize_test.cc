// The fixed-point resizes against plain double-precision twins, and at the edges of their domain.
#include <gtest/gtest.h>

#include <cmath>

#include "encoders.h"
#include "image/resize.h"

namespace revenant {
namespace {

double cubic(double x, double a) {  // Keys 1981, the textbook form
  x = std::fabs(x);
  if (x <= 1) return (a + 2) * x * x * x - (a + 3) * x * x + 1;
  if (x < 2) return a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a;
  return 0;
}

uint8_t at(const Image& image, int x, int y, int c) {
  return image.rgb[size_t((y * image.width + x) * 3 + c)];
}

// Weight of input `i` for output `o` along one axis. Widened and renormalised, or clamped at the
// edges: Pillow's rule and torch's.
using Weight = double (*)(int in, int out, int o, int i);

double weight_pillow(int in, int out, int o, int i) {
  const double scale = double(in) / out, stretch = std::max(scale, 1.0), centre = (o + 0.5) * scale;
  // Pillow rounds the support's ends to whole pixels.
  const int first = std::max(int(centre - 2 * stretch + 0.5), 0);
  const int last = std::min(int(centre + 2 * stretch + 0.5), in);
  if (i < first || i >= last) return 0;
  double sum = 0;
  for (int j = first; j < last; ++j) sum += cubic((j + 0.5 - centre) / stretch, -0.5);
  return cubic((i + 0.5 - centre) / stretch, -0.5) / sum;
}

double weight_torch(int in, int out, int o, int i) {
  const double source = (o + 0.5) * in / out - 0.5;
  double sum = 0;
  for (int j = int(std::floor(source)) - 1; j <= int(std::floor(source)) + 2; ++j)
    if (std::clamp(j, 0, in - 1) == i) sum += cubic(source - j, -0.75);
  return sum;
}

double level(double x) { return std::clamp(std::round(x), 0.0, 255.0); }

// Horizontal, then vertical, rounded to 8 bits after each.
Image twin(const Image& image, int width, int height, Weight weight) {
  Image wide = blank_image(width, image.height), out = blank_image(width, height);
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < width * 3; ++x) {
      double sum = 0;
      for (int i = 0; i < image.width; ++i)
        sum += weight(image.width, width, x / 3, i) * at(image, i, y, x % 3);
      wide.rgb[size_t(y * width * 3 + x)] = uint8_t(level(sum));
    }
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width * 3; ++x) {
      double sum = 0;
      for (int i = 0; i < image.height; ++i)
        sum += weight(image.height, height, y, i) * at(wide, x / 3, i, x % 3);
      out.rgb[size_t(y * width * 3 + x)] = uint8_t(level(sum));
    }
  return out;
}

int largest_difference(const Image& a, const Image& b) {
  EXPECT_EQ(a.width, b.width);
  EXPECT_EQ(a.height, b.height);
  int largest = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i)
    largest = std::max(largest, std::abs(int(a.rgb[i]) - int(b.rgb[i])));
  return largest;
}

TEST(Resize, EqualsThePlainTwinWithinOneLevel) {
  Random random(3);
  for (int n = 0; n < 40; ++n) {
    const auto side = [&] { return int(1 + random.below(24)); };
    const Image image = noise(side(), side(), random.next());
    const int width = side(), height = side();
    EXPECT_LE(largest_difference(resize_bicubic(image, width, height),
                                 twin(image, width, height, weight_pillow)),
              1);
    // 15-bit weights, and a second pass that amplifies the first one's rounding.
    EXPECT_LE(largest_difference(resize_bicubic_torch(image, width, height),
                                 twin(image, width, height, weight_torch)),
              2);
  }
}

// The vertical pass is fed row by row, and taps of long rows are made anew: nothing of that may
// show.
TEST(Resize, BothPassesAreTheSameAsOneAfterTheOther) {
  Random random(8);
  for (int n = 0; n < 40; ++n) {
    const auto side = [&] { return int(1 + random.below(90)); };
    const Image image = noise(side(), side(), random.next());
    const int width = side(), height = side();
    for (const auto resize : {resize_bicubic, resize_bicubic_torch})
      EXPECT_TRUE(resize(image, width, height) ==
                  resize(resize(image, width, image.height), width, height));
  }
}

TEST(Resize, LongRowsAreResizedLikeColumns) {
  const Image row = noise((1 << 20) + 77, 1, 4);
  Image column = row;
  std::swap(column.width, column.height);
  for (const auto resize : {resize_bicubic, resize_bicubic_torch})
    EXPECT_EQ(resize(row, 5, 1).rgb, resize(column, 1, 5).rgb);
}

TEST(Resize, SameSizeIsTheSamePicture) {
  const Image image = noise(31, 17, 5);
  EXPECT_TRUE(resize_bicubic(image, 31, 17) == image);
  EXPECT_TRUE(resize_bicubic_torch(image, 31, 17) == image);
}

TEST(Resize, AFlatPictureStaysFlat) {
  for (const int level : {0, 1, 127, 254, 255}) {
    const Image image = blank_image(13, 57, uint8_t(level));
    EXPECT_TRUE(resize_bicubic(image, 40, 20) == blank_image(40, 20, uint8_t(level)));
    EXPECT_TRUE(resize_bicubic_torch(image, 40, 20) == blank_image(40, 20, uint8_t(level)));
  }
}

TEST(Resize, ExtremeShapes) {
  for (const auto& [w, h] : {std::pair(1, 1), {1, 65535}, {65535, 1}, {2, 40000}, {3, 5}})
    for (const auto& [to_w, to_h] : {std::pair(1, 1), {28, 28}, {448, 1}, {1, 448}}) {
      const Image image = noise(w, h, 9);
      EXPECT_EQ(resize_bicubic(image, to_w, to_h).rgb.size(), size_t(to_w * to_h * 3));
      EXPECT_EQ(resize_bicubic_torch(image, to_w, to_h).rgb.size(), size_t(to_w * to_h * 3));
    }
  EXPECT_THROW(resize_bicubic(Image{}, 4, 4), CheckFailed);
  EXPECT_THROW(resize_bicubic_torch(noise(2, 2, 1), 0, 4), CheckFailed);
}

}  // namespace
}  // namespace revenant
