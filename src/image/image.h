// Pictures in memory, and how files become pictures: JPEG, PNG and WebP to 8-bit RGB as Pillow's
// convert("RGB") does it. Alpha and transparency are dropped (not blended), 16-bit grey saturates
// at 255, 16-bit colour keeps its high byte: so the models were trained. docs/pictures.md has what
// is read and what is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"

namespace revenant {

struct Image {
  int width = 0, height = 0;
  std::vector<uint8_t> rgb;  // [height][width][3]

  bool operator==(const Image&) const = default;
};

Image blank_image(int width, int height, uint8_t level = 0);

// What is done about the EXIF orientation of a file. The models were trained on pictures as they
// are stored; people see them turned.
enum class Exif { ignore, apply };
// By its name; nothing if that is no name of one.
std::optional<Exif> exif_named(std::string_view name);

// A row of 3 bytes a pixel must fit an int, whatever the shape.
inline constexpr int64_t most_pixels = std::numeric_limits<int>::max() / 3;

struct ReadOptions {
  // Checked against the header, before anything is decoded or allocated; never above most_pixels.
  // The default is Pillow's bound.
  int64_t max_pixels = 178'956'970;
  Exif exif = Exif::ignore;
};

// `name` is what error messages call the picture. Throws Error for anything that is not one whole
// still picture of a known format within the options' bound.
Image decode_image(std::span<const std::byte> bytes, const std::string& name,
                   const ReadOptions& options = {});
Image read_image(const Path& path, const ReadOptions& options = {});

// Throws the Error that decode_image would, where the head of the file shows it already.
void check_image_head(std::span<const std::byte> bytes, const std::string& name,
                      const ReadOptions& options = {});

std::string encode_png(const Image& image);

}  // namespace revenant
