// How a picture becomes the tiles that a vision tower sees.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "image/image.h"

namespace revenant {

inline constexpr std::array<float, 3> imagenet_mean{0.485f, 0.456f, 0.406f};
inline constexpr std::array<float, 3> imagenet_std{0.229f, 0.224f, 0.225f};
inline constexpr std::array<float, 3> clip_mean{0.48145466f, 0.4578275f, 0.40821073f};
inline constexpr std::array<float, 3> clip_std{0.26862954f, 0.26130258f, 0.27577711f};

struct TileRule {
  int size = 448;         // a tile is size x size
  int max_tiles = 6;      // of the grid; the thumbnail comes on top
  bool thumbnail = true;  // the whole picture as one more tile, last, if the grid has more than one
  std::array<float, 3> mean = imagenet_mean, std = imagenet_std;
  bool whole = false;  // no grid: one tile, the whole picture by torch's bicubic (CLIP towers)
};

TileRule clip_rule(int size = 490);  // TroL-1.8B and 7B

struct Grid {
  int columns = 1, rows = 1;

  int cells() const { return columns * rows; }
  bool operator==(const Grid&) const = default;
};

// The grid whose shape is nearest to the picture's; on a tie the larger one, if the picture has
// enough pixels for it.
Grid choose_grid(int width, int height, const TileRule& rule);

struct Tiles {
  Grid grid;
  std::vector<Image> tiles;  // row by row, then the thumbnail if there is one
};

Tiles tile(const Image& image, const TileRule& rule);

// [tiles][3][size][size]: (level / 255 - mean) / std.
std::vector<float> normalise(std::span<const Image> tiles, const TileRule& rule);

// The tiles as the model sees them, apart from each other; the thumbnail beside or below.
Image contact_sheet(const Tiles& tiles);

// Several pictures as one: side by side, 10 black pixels between, centred vertically. The result
// must be within the bound of a picture that is read.
Image concatenate(std::span<const Image> images, const ReadOptions& options = {});

}  // namespace revenant
