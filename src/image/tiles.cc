#include "image/tiles.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "image/resize.h"

namespace revenant {
namespace {

// All grids of at most `max_tiles` cells, smaller ones first.
std::vector<Grid> candidates(int max_tiles) {
  std::vector<Grid> grids;
  for (int columns = 1; columns <= max_tiles; ++columns)
    for (int rows = 1; columns * rows <= max_tiles; ++rows) grids.push_back({columns, rows});
  std::ranges::stable_sort(grids, {}, &Grid::cells);
  return grids;
}

Image crop(const Image& image, int left, int top, int size) {
  Image out = blank_image(size, size);
  const size_t stride = size_t(size) * 3;
  for (int y = 0; y < size; ++y) {
    const auto from = (size_t(top + y) * size_t(image.width) + size_t(left)) * 3;
    std::copy_n(image.rgb.begin() + ptrdiff_t(from), stride,
                out.rgb.begin() + ptrdiff_t(size_t(y) * stride));
  }
  return out;
}

void paste(Image& canvas, const Image& image, int left, int top) {
  for (int y = 0; y < image.height; ++y) {
    const auto to = (size_t(top + y) * size_t(canvas.width) + size_t(left)) * 3;
    std::copy_n(image.rgb.begin() + ptrdiff_t(size_t(y) * size_t(image.width) * 3),
                size_t(image.width) * 3, canvas.rgb.begin() + ptrdiff_t(to));
  }
}

}  // namespace

Grid choose_grid(int width, int height, const TileRule& rule) {
  CHECK(width > 0 && height > 0 && rule.size > 0 && rule.max_tiles > 0);
  const double shape = double(width) / height, area = double(width) * height;
  Grid best;
  double nearest = INFINITY;
  for (const Grid grid : candidates(rule.max_tiles)) {
    const double distance = std::fabs(shape - double(grid.columns) / grid.rows);
    const bool fills = area > 0.5 * rule.size * rule.size * grid.cells();
    if (distance < nearest || (distance == nearest && fills)) best = grid;
    nearest = std::min(nearest, distance);
  }
  return best;
}

Tiles tile(const Image& image, const TileRule& rule) {
  const int size = rule.size;
  if (rule.whole) return {{}, {resize_bicubic_torch(image, size, size)}};
  Tiles out{choose_grid(image.width, image.height, rule), {}};
  const Image resized = resize_bicubic(image, size * out.grid.columns, size * out.grid.rows);
  for (int row = 0; row < out.grid.rows; ++row)
    for (int column = 0; column < out.grid.columns; ++column)
      out.tiles.push_back(crop(resized, column * size, row * size, size));
  if (tile_count(image.width, image.height, rule) > out.grid.cells())
    out.tiles.push_back(resize_bicubic(image, size, size));
  return out;
}

int tile_count(int width, int height, const TileRule& rule) {
  if (rule.whole) return 1;
  const int cells = choose_grid(width, height, rule).cells();
  return cells + (rule.thumbnail && cells > 1);
}

std::vector<float> normalise(std::span<const Image> tiles, const TileRule& rule) {
  std::array<std::array<float, 256>, 3> value;
  for (size_t c = 0; c < 3; ++c)
    for (size_t level = 0; level < 256; ++level)
      value[c][level] = (float(level) / 255.0f - rule.mean[c]) / rule.std[c];
  const size_t plane = size_t(rule.size) * size_t(rule.size);
  std::vector<float> out;
  out.reserve(tiles.size() * 3 * plane);
  for (const Image& tile : tiles) {
    CHECK(tile.width == rule.size && tile.height == rule.size && tile.rgb.size() == 3 * plane);
    for (size_t c = 0; c < 3; ++c)
      for (size_t i = 0; i < plane; ++i) out.push_back(value[c][tile.rgb[3 * i + c]]);
  }
  return out;
}

Image contact_sheet(const Tiles& tiles) {
  CHECK(int(tiles.tiles.size()) >= tiles.grid.cells());
  const auto [columns, rows] = tiles.grid;
  const bool thumbnail = int(tiles.tiles.size()) > columns * rows, below = rows == 1;
  const int size = tiles.tiles[0].width, gap = std::max(2, size / 56), step = size + gap;
  const int right = thumbnail && !below, bottom = thumbnail && below;
  // The thumbnail stands four gaps away, so that nobody takes it for a part of the grid.
  Image sheet = blank_image((columns + right) * step + (right ? 4 : 1) * gap,
                            (rows + bottom) * step + (bottom ? 4 : 1) * gap, 255);
  for (int i = 0; i < columns * rows; ++i)
    paste(sheet, tiles.tiles[size_t(i)], gap + i % columns * step, gap + i / columns * step);
  if (thumbnail)
    paste(sheet, tiles.tiles.back(), gap + right * (columns * step + 3 * gap),
          gap + bottom * (rows * step + 3 * gap));
  return sheet;
}

Image concatenate(std::span<const Image> images, const ReadOptions& options) {
  CHECK(!images.empty());
  constexpr int margin = 10;
  int64_t width = -margin, height = 0;
  for (const Image& image : images) {
    width += image.width + margin;
    height = std::max<int64_t>(height, image.height);
  }
  const int64_t bound = std::min(options.max_pixels, most_pixels);
  if (width > bound / height)
    throw Error("image", std::to_string(images.size()) + " pictures side by side",
                "at most " + std::to_string(bound) + " pixels (max-pixels)",
                std::to_string(width) + " x " + std::to_string(height));
  Image out = blank_image(int(width), int(height));
  int left = 0;
  for (const Image& image : images) {
    paste(out, image, left, (int(height) - image.height) / 2);
    left += image.width + margin;
  }
  return out;
}

}  // namespace revenant
