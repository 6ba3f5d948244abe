// Small RGBA pictures and the canvases that they are drawn on.
#pragma once

#include <cstdint>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "image/image.h"

namespace revenant {

struct Sprite {
  int width = 0, height = 0;
  std::vector<uint8_t> rgba;  // straight alpha
};

Sprite read_sprite(const Path& png);

// Cut to what is visible, so that one size means the same in every drawing style.
Sprite trimmed(const Sprite& sprite);

// saturation 0 = grey, 1 = unchanged; brightness multiplies.
Sprite tinted(const Sprite& sprite, double saturation, double brightness);

// Centre in pixels, longest side in pixels, clockwise turn in radians; `narrowed` times the width.
struct Pose {
  double x, y, size;
  double angle = 0;
  bool mirrored = false;
  double narrowed = 1;
};

// Somewhere inside the canvas: 0.55 to 0.55 + `sizes` of its side, turned by at most `turn`.
Pose random_pose(Random& random, int side, double sizes, double turn);
double random_brightness(Random& random);  // 0.8 to 1.15

Image drawn(Image canvas, const Sprite& sprite, const Pose& pose);

// A plain colour, a gradient, or soft large-grained noise.
Image backdrop(Random& random, int side);
Image plain_backdrop(Random& random, int side);
Image bright_backdrop(Random& random, int side);  // plain

// As tests see one thing: upright, in the middle of a plain colour.
Image drawn_plainly(Random& random, int side, const Sprite& sprite);

uint64_t pixel_hash(const Image& image);

}  // namespace revenant
