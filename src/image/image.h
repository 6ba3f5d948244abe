// Pictures in memory, and how files become pictures: JPEG, PNG and WebP to 8-bit RGB as Pillow's
// convert("RGB") does it. Alpha and transparency are dropped (not blended), 16-bit grey saturates
// at 255, 16-bit colour keeps its high byte, EXIF orientation is ignored: so the models were
// trained.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"

namespace revenant {

struct Image {
  int width = 0, height = 0;
  std::vector<uint8_t> rgb;  // [height][width][3]

  bool operator==(const Image&) const = default;
};

Image blank_image(int width, int height, uint8_t level = 0);

// Checked against the header, before anything is decoded or allocated.
struct DecodeLimits {
  int64_t max_pixels = 40'000'000;
  int max_side = 16'384;
};

// `name` is what error messages call the picture. Throws Error for anything that is not one whole
// still picture of a known format within the limits.
Image decode_image(std::span<const std::byte> bytes, const std::string& name,
                   DecodeLimits limits = {});
Image read_image(const Path& path, DecodeLimits limits = {});

std::string encode_png(const Image& image);

}  // namespace revenant
