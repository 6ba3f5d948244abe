// The two resizes that the models were trained with, equal to the originals bit for bit.
#pragma once

#include "image/image.h"

namespace revenant {

// Pillow's Image.resize((width, height)): bicubic with A = -0.5, support widened when shrinking,
// horizontal then vertical, 22-bit fixed point, rounded to 8 bits after each pass. So do the
// goldens and Pillow 11; later ones take the cheaper order (13.0 differs by up to 11 levels on long
// strips).
Image resize_bicubic(const Image& image, int width, int height);

// torch's 8-bit interpolate(mode="bicubic", antialias=False), torch >= 2.1: A = -0.75, four taps,
// 16-bit weights, rounded to 8 bits after each pass. The CLIP path of TroL-1.8B and 7B.
Image resize_bicubic_torch(const Image& image, int width, int height);

}  // namespace revenant
