#include "image/augment.h"

#include <algorithm>

#include "image/orientation.h"

namespace revenant {

Image mirrored(const Image& image) { return turned(image, 2); }

Image shifted(const Image& image, int dx, int dy) {
  Image result = image;
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < image.width; ++x) {
      const size_t row = size_t(std::clamp(y - dy, 0, image.height - 1));
      const size_t column = size_t(std::clamp(x - dx, 0, image.width - 1));
      std::copy_n(&image.rgb[(row * size_t(image.width) + column) * 3], 3,
                  &result.rgb[(size_t(y) * size_t(image.width) + size_t(x)) * 3]);
    }
  return result;
}

}  // namespace revenant
