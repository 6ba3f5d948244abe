#include "image/orientation.h"

#include <algorithm>

#include "base/error.h"
#include "base/threads.h"

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

Survey survey(const std::set<Path>& pictures, const ReadOptions& options, int threads) {
  struct Head {
    bool oriented = false;
    std::string wrong;
  };
  const auto head_of = [&](const Path& path) -> Head {
    try {
      const MappedFile file(path);
      check_image_head(file.bytes(), path.string(), options);
      return {exif_orientation(file.bytes()) != 1, ""};
    } catch (const Error& error) {
      return {false, error.what()};
    }
  };
  const std::vector<Path> paths(pictures.begin(), pictures.end());
  std::vector<Head> heads(paths.size());
  Threads(threads).parallel_for(paths.size(), 64, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) heads[i] = head_of(paths[i]);
  });
  Survey all{paths.size(), 0, {}};
  for (Head& head : heads) {
    all.oriented += head.oriented;
    if (!head.wrong.empty()) all.damaged.push_back(std::move(head.wrong));
  }
  return all;
}

std::string orientation_note(const Survey& survey, Exif exif) {
  if (survey.oriented == 0) return "";
  return std::to_string(survey.oriented) + " of " + std::to_string(survey.pictures) +
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
