#include "image/augment.h"

#include <algorithm>

namespace revenant {
namespace {

// The picture whose pixel (x, y) is `image`'s pixel (column(x), row(y)).
template <class Column, class Row>
Image looked_up(const Image& image, const Column& column, const Row& row) {
  Image result = image;
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < image.width; ++x)
      std::copy_n(&image.rgb[(size_t(row(y)) * image.width + column(x)) * 3], 3,
                  &result.rgb[(size_t(y) * image.width + x) * 3]);
  return result;
}

}  // namespace

Image mirrored(const Image& image) {
  return looked_up(
      image, [&](int x) { return image.width - 1 - x; }, [](int y) { return y; });
}

Image shifted(const Image& image, int dx, int dy) {
  return looked_up(
      image, [&](int x) { return std::clamp(x - dx, 0, image.width - 1); },
      [&](int y) { return std::clamp(y - dy, 0, image.height - 1); });
}

}  // namespace revenant
