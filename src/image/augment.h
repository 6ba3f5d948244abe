// Pictures changed a little each time they come, for training.
#pragma once

#include "image/image.h"

namespace revenant {

Image mirrored(const Image& image);  // left and right swapped

// Moved right by `dx` and down by `dy` pixels; the edge is repeated into what comes free.
Image shifted(const Image& image, int dx, int dy);

}  // namespace revenant
