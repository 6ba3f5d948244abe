#include "data/sprite.h"

#include <png.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace revenant {
namespace {

constexpr int kLargestSprite = 4096;
using Colour = std::array<double, 3>;

uint8_t to_byte(double value) { return uint8_t(std::clamp(value + 0.5, 0.0, 255.0)); }

Colour colour_within(Random& random, double low, double high) {
  Colour colour;
  for (double& part : colour) part = low + (high - low) * random.uniform();
  return colour;
}

Colour bright_colour(Random& random) { return colour_within(random, 180, 255); }

// Bright ones mostly, since most drawings have dark outlines; dark and middling ones too.
Colour random_colour(Random& random) {
  const double kind = random.uniform();
  if (kind < 0.65) return bright_colour(random);
  return kind < 0.85 ? colour_within(random, 80, 200) : colour_within(random, 0, 90);
}

Image filled(int side, const auto& colour_at) {
  Image image;
  image.width = image.height = side;
  image.rgb.reserve(size_t(side) * side * 3);
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x)
      for (double part : colour_at(x, y)) image.rgb.push_back(to_byte(part));
  return image;
}

Colour mix(const Colour& a, const Colour& b, double t) {
  return {a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t};
}

Image filled(int side, const Colour& colour) {
  return filled(side, [&](int, int) { return colour; });
}

Image gradient(Random& random, int side) {
  const Colour from = random_colour(random), to = mix(from, random_colour(random), 0.5);
  const bool across = random.below(2) == 0;
  return filled(side, [&](int x, int y) { return mix(from, to, double(across ? x : y) / side); });
}

// Random shades on a coarse grid, blended in between.
Image soft_noise(Random& random, int side) {
  constexpr int kCells = 6;
  const Colour base = random_colour(random);
  std::array<double, (kCells + 1) * (kCells + 1)> shade;
  for (double& value : shade) value = 36 * (random.uniform() - 0.5);
  return filled(side, [&](int x, int y) {
    const double u = double(x) * kCells / side, v = double(y) * kCells / side;
    const int i = int(u), j = int(v);
    const auto row = [&](int r) {
      const double* at = &shade[size_t(r) * (kCells + 1) + i];
      return at[0] + (at[1] - at[0]) * (u - i);
    };
    const double lift = row(j) + (row(j + 1) - row(j)) * (v - j);
    return Colour{base[0] + lift, base[1] + lift, base[2] + lift};
  });
}

}  // namespace

Sprite read_sprite(const Path& png) {
  const MappedFile file(png);
  png_image reader{};
  reader.version = PNG_IMAGE_VERSION;
  const auto fail = [&] {
    const std::string why = reader.message;
    png_image_free(&reader);
    throw Error("data", png.string(), why);
  };
  if (!png_image_begin_read_from_memory(&reader, file.bytes().data(), file.bytes().size())) fail();
  if (reader.width > kLargestSprite || reader.height > kLargestSprite) {
    png_image_free(&reader);
    throw Error("data", png.string(), "a sprite of at most 4096 a side", "a larger one");
  }
  reader.format = PNG_FORMAT_RGBA;
  Sprite sprite{int(reader.width), int(reader.height), {}};
  sprite.rgba.resize(PNG_IMAGE_SIZE(reader));
  if (!png_image_finish_read(&reader, nullptr, sprite.rgba.data(), 0, nullptr)) fail();
  return sprite;
}

Sprite trimmed(const Sprite& sprite) {
  constexpr int kVisible = 16;
  int left = sprite.width, top = sprite.height, right = 0, bottom = 0;
  for (int y = 0; y < sprite.height; ++y)
    for (int x = 0; x < sprite.width; ++x)
      if (sprite.rgba[(size_t(y) * sprite.width + x) * 4 + 3] >= kVisible) {
        left = std::min(left, x), right = std::max(right, x + 1);
        top = std::min(top, y), bottom = std::max(bottom, y + 1);
      }
  if (left >= right) return sprite;
  Sprite cut{right - left, bottom - top, {}};
  for (int y = top; y < bottom; ++y) {
    const auto row = sprite.rgba.begin() + (ptrdiff_t(y) * sprite.width + left) * 4;
    cut.rgba.insert(cut.rgba.end(), row, row + ptrdiff_t(cut.width) * 4);
  }
  return cut;
}

Sprite tinted(const Sprite& sprite, double saturation, double brightness) {
  Sprite result = sprite;
  for (size_t i = 0; i < result.rgba.size(); i += 4) {
    uint8_t* p = &result.rgba[i];
    const double grey = 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
    for (int c = 0; c < 3; ++c) p[c] = to_byte((grey + (p[c] - grey) * saturation) * brightness);
  }
  return result;
}

Pose random_pose(Random& random, int side, double sizes, double turn) {
  Pose pose{0, 0, side * (0.55 + sizes * random.uniform())};
  const double slack = (side - pose.size) / 2;
  pose.x = side / 2.0 + slack * (2 * random.uniform() - 1);
  pose.y = side / 2.0 + slack * (2 * random.uniform() - 1);
  pose.angle = turn * (2 * random.uniform() - 1);
  return pose;
}

double random_brightness(Random& random) { return 0.8 + 0.35 * random.uniform(); }

// Each pixel of the canvas averages a grid of points looked up in the sprite.
Image drawn(Image canvas, const Sprite& sprite, const Pose& pose) {
  constexpr int kPoints = 3;
  const double scale = std::max(sprite.width, sprite.height) / pose.size;
  const double cosine = std::cos(pose.angle) * scale, sine = std::sin(pose.angle) * scale;
  const double reach = pose.size * 0.7072 + 1;
  const int x0 = std::max(0, int(pose.x - reach)), y0 = std::max(0, int(pose.y - reach));
  const int x1 = std::min(canvas.width, int(pose.x + reach) + 1);
  const int y1 = std::min(canvas.height, int(pose.y + reach) + 1);
  for (int y = y0; y < y1; ++y)
    for (int x = x0; x < x1; ++x) {
      double sum[3] = {0, 0, 0}, cover = 0;
      for (int k = 0; k < kPoints * kPoints; ++k) {
        const double dx = x + (k % kPoints + 0.5) / kPoints - pose.x;
        const double dy = y + (k / kPoints + 0.5) / kPoints - pose.y;
        const double u = (dx * cosine + dy * sine) * (pose.mirrored ? -1 : 1) / pose.narrowed;
        const int sx = int(std::floor(u + sprite.width / 2.0));
        const int sy = int(std::floor(dy * cosine - dx * sine + sprite.height / 2.0));
        if (sx < 0 || sy < 0 || sx >= sprite.width || sy >= sprite.height) continue;
        const uint8_t* p = &sprite.rgba[(size_t(sy) * sprite.width + sx) * 4];
        cover += p[3];
        for (int c = 0; c < 3; ++c) sum[c] += double(p[c]) * p[3];
      }
      uint8_t* to = &canvas.rgb[(size_t(y) * canvas.width + x) * 3];
      const double all = 255.0 * kPoints * kPoints;
      for (int c = 0; c < 3; ++c) to[c] = to_byte((to[c] * (all - cover) + sum[c]) / all);
    }
  return canvas;
}

Image plain_backdrop(Random& random, int side) { return filled(side, random_colour(random)); }

Image bright_backdrop(Random& random, int side) { return filled(side, bright_colour(random)); }

Image backdrop(Random& random, int side) {
  const double kind = random.uniform();
  return kind < 0.5   ? plain_backdrop(random, side)
         : kind < 0.7 ? gradient(random, side)
                      : soft_noise(random, side);
}

Image drawn_plainly(Random& random, int side, const Sprite& sprite) {
  return drawn(plain_backdrop(random, side), sprite, {side / 2.0, side / 2.0, side * 0.8});
}

uint64_t pixel_hash(const Image& image) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325ull;
  const auto eat = [&](uint64_t byte) { hash = (hash ^ byte) * 0x100000001b3ull; };
  for (int side : {image.width, image.height})
    for (int shift = 0; shift < 32; shift += 8) eat(uint64_t(side) >> shift & 0xff);
  for (uint8_t byte : image.rgb) eat(byte);
  return hash;
}

}  // namespace revenant
