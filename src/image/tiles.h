// How a picture becomes the tiles that a vision tower sees.
#pragma once

#include <span>
#include <vector>

#include "base/tile_rule.h"
#include "image/image.h"

namespace revenant {

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
// How many tiles that are, of a picture of this size.
int tile_count(int width, int height, const TileRule& rule);

// [tiles][3][size][size]: (level / 255 - mean) / std.
std::vector<float> normalise(std::span<const Image> tiles, const TileRule& rule);

// The tiles as the model sees them, apart from each other; the thumbnail beside or below.
Image contact_sheet(const Tiles& tiles);

// Several pictures as one: side by side, 10 black pixels between, centred vertically. The result
// must be within the bound of a picture that is read.
Image concatenate(std::span<const Image> images, const ReadOptions& options = {});

}  // namespace revenant
