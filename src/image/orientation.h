// EXIF's orientation: how a picture is to be turned so that it stands as the photographer saw it.
#pragma once

#include <set>
#include <string_view>

#include "image/image.h"

namespace revenant {

// Of a JPEG, PNG or WebP file: 1 (as stored) to 8; 1 too where the file says nothing, or nothing
// that can be read.
int exif_orientation(std::span<const std::byte> bytes);

// The same of a TIFF structure, with or without "Exif\0\0" before it.
int orientation_in(std::string_view tiff);

// What the heads of picture files say, each looked at once.
struct Survey {
  size_t pictures = 0, oriented = 0;
  std::vector<std::string> damaged;  // what is wrong with each that cannot be read
};
Survey survey(const std::set<Path>& pictures, const ReadOptions& options = {},
              int threads = 0);  // 0: as many as the machine runs at once

// "3 of 500 pictures carry an EXIF orientation and were not turned"; empty if none carries one.
std::string orientation_note(const Survey& survey, Exif exif);

// The picture as an orientation of 1 to 8 wants it seen; 2 swaps left and right.
Image turned(const Image& image, int orientation);

}  // namespace revenant
