// How a tower wants its pictures cut. A model's configuration says it (model/config.h), room
// `image` cuts by it (image/tiles.h); neither room knows the other.
#pragma once

#include <array>

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

// TroL-1.8B and 7B
constexpr TileRule clip_rule(int size = 490) {
  return {.size = size,
          .max_tiles = 1,
          .thumbnail = false,
          .mean = clip_mean,
          .std = clip_std,
          .whole = true};
}

}  // namespace revenant
