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

// "3 of 500 pictures carry an EXIF orientation and were not turned", of the files of this kind that
// can be opened; empty if none carries one.
std::string orientation_note(const std::set<Path>& pictures, Exif exif);

// The picture as an orientation of 1 to 8 wants it seen; 2 swaps left and right.
Image turned(const Image& image, int orientation);

}  // namespace revenant
