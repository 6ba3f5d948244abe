#include "image/orientation.h"

#include <algorithm>

#include "base/error.h"

namespace revenant {
namespace {

using namespace std::string_view_literals;

// The numbers of a TIFF structure, in its order of bytes; what lies outside reads as 0.
struct Tiff {
  std::string_view bytes;
  bool little;

  uint64_t number(size_t at, size_t size) const {
    if (at > bytes.size() || size > bytes.size() - at) return 0;
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i)
      value = value << 8 | uint8_t(bytes[at + (little ? size - 1 - i : i)]);
    return value;
  }
};

// Bytes of one value by TIFF type, of the whole numbers that Pillow takes: SHORT, SSHORT, LONG,
// SLONG. The standard has SHORT.
size_t size_of(uint64_t type) {
  return type == 3 || type == 8 ? 2 : type == 4 || type == 9 ? 4 : 0;
}

}  // namespace

int orientation_in(std::string_view bytes) {
  if (bytes.starts_with("Exif\0\0"sv)) bytes.remove_prefix(6);
  const bool little = bytes.starts_with("II*\0"sv);
  if (!little && !bytes.starts_with("MM\0*"sv)) return 1;
  const Tiff tiff{bytes, little};
  const size_t directory = tiff.number(4, 4);
  const size_t entries = tiff.number(directory, 2);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + 12 * i;  // tag, type, count, value
    if (entry + 12 > bytes.size()) return 1;
    if (tiff.number(entry, 2) != 0x0112) continue;
    const size_t size = size_of(tiff.number(entry + 2, 2)), count = tiff.number(entry + 4, 4);
    const uint64_t value = count > 0 && count * size <= 4 ? tiff.number(entry + 8, size) : 0;
    return value >= 1 && value <= 8 ? int(value) : 1;
  }
  return 1;
}

std::string orientation_note(const std::set<Path>& pictures, Exif exif) {
  const auto turns = [](const Path& path) {
    try {
      return exif_orientation(MappedFile(path).bytes()) != 1;
    } catch (const Error&) {
      return false;  // whoever reads the picture will say so
    }
  };
  const auto count = std::ranges::count_if(pictures, turns);
  if (count == 0) return "";
  return std::to_string(count) + " of " + std::to_string(pictures.size()) +
         " pictures carry an EXIF orientation and were " +
         (exif == Exif::apply ? "turned" : "not turned");
}

Image turned(const Image& image, int orientation) {
  CHECK(orientation >= 1 && orientation <= 8);
  // By orientation, from 1: are rows and columns exchanged, and which of them run backwards?
  constexpr bool exchanged[] = {false, false, false, false, true, true, true, true};
  constexpr bool columns_back[] = {false, true, true, false, false, false, true, true};
  constexpr bool rows_back[] = {false, false, true, true, false, true, true, false};
  const int o = orientation - 1;
  Image out = image;
  if (exchanged[o]) std::swap(out.width, out.height);
  uint8_t* to = out.rgb.data();
  for (int y = 0; y < out.height; ++y)
    for (int x = 0; x < out.width; ++x, to += 3) {
      const int column = exchanged[o] ? y : x, row = exchanged[o] ? x : y;
      const size_t from_x = size_t(columns_back[o] ? image.width - 1 - column : column);
      const size_t from_y = size_t(rows_back[o] ? image.height - 1 - row : row);
      std::copy_n(&image.rgb[(from_y * size_t(image.width) + from_x) * 3], 3, to);
    }
  return out;
}

}  // namespace revenant
