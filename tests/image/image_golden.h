// Compares tiles with the image goldens. A list of complaints instead of assertions, so that the
// fault tests can require one.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "image/tiles.h"
#include "support/golden_parts.h"
#include "support/sha256.h"

namespace revenant::golden {

using Complaints = std::vector<std::string>;

struct Images {
  std::filesystem::path root;
  nlohmann::json expected;
  Golden tensors;

  const nlohmann::json& entry(const std::string& file) const { return expected["images"][file]; }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& [name, entry] : expected["images"].items()) names.push_back(name);
    return names;
  }
  // Why a test that reads `key` of expected.json is to be skipped: another folder may lack it.
  std::optional<std::string> lacks_key(const std::string& key) const {
    if (!other_folder() || expected.contains(key)) return {};
    return "REVENANT_CONFORMANCE: no \"" + key + "\" in " + (root / "expected.json").string();
  }
  Image read(const std::string& file) const { return read_image(root / "files" / file); }
};

inline Images open_images() {
  const auto root = conformance_root() / "images";
  return {root, read_json(root / "expected.json"), open(root / "expected.safetensors")};
}

class ImageTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = lacks("images/expected.json")) GTEST_SKIP() << *why;
    golden = open_images();
  }
  Images golden;
};

inline const TileRule rule_448{};
inline const TileRule rule_28{.size = 28};

inline std::vector<uint8_t> planar(const Image& image) {
  const size_t plane = image.rgb.size() / 3;
  std::vector<uint8_t> out(image.rgb.size());
  for (size_t i = 0; i < plane; ++i)
    for (size_t c = 0; c < 3; ++c) out[c * plane + i] = image.rgb[3 * i + c];
  return out;
}

inline bool near(double a, double b, double tolerance) { return std::fabs(a - b) <= tolerance; }

inline Complaints compare_hashes(const nlohmann::json& entry, const Tiles& tiles) {
  if (tiles.tiles.size() != entry["tiles_448"]) return {"number of tiles"};
  if (Grid{entry["grid_448"][0], entry["grid_448"][1]} != tiles.grid) return {"grid"};
  Complaints bad;
  for (size_t i = 0; i < tiles.tiles.size(); ++i)
    if (sha256(planar(tiles.tiles[i])) != entry["tile_u8_sha256_448"][i])
      bad.push_back("hash of tile " + std::to_string(i));
  return bad;
}

// Mean and standard deviation of every channel of every tile.
inline Complaints compare_statistics(const nlohmann::json& entry, const std::vector<float>& values,
                                     size_t plane) {
  Complaints bad;
  for (size_t p = 0; p < values.size() / plane; ++p) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < plane; ++i) sum += values[p * plane + i];
    const double mean = sum / double(plane);
    for (size_t i = 0; i < plane; ++i) squares += std::pow(values[p * plane + i] - mean, 2);
    const std::string name = "statistics of tile " + std::to_string(p / 3);
    if (!near(mean, entry["tile_mean_448"][p / 3][p % 3], 1e-4)) bad.push_back("mean, " + name);
    // A single level leaves only rounding noise.
    if (!near(std::sqrt(squares / double(plane)), entry["tile_std_448"][p / 3][p % 3], 1e-4))
      bad.push_back("std, " + name);
  }
  return bad;
}

inline Complaints compare_samples(const Golden& tensors, const std::string& file,
                                  const Tiles& tiles, const std::vector<float>& values,
                                  size_t size) {
  const auto index = tensors.i64(file + "/sample_index_448");  // tile, channel, y, x
  const auto levels = tensors.u8(file + "/sample_u8_448");
  const auto samples = tensors.f32(file + "/sample_value_448");
  Complaints bad;
  for (size_t i = 0; i < samples.size(); ++i) {
    const size_t t = size_t(index[4 * i]), c = size_t(index[4 * i + 1]);
    const size_t pixel = size_t(index[4 * i + 2]) * size + size_t(index[4 * i + 3]);
    if (t >= tiles.tiles.size()) return {"a sample lies in a missing tile"};
    if (tiles.tiles[t].rgb[3 * pixel + c] != levels[i]) bad.push_back("a sampled level");
    if (!near(values[(t * 3 + c) * size * size + pixel], samples[i], 1e-6))
      bad.push_back("a sampled value");
  }
  return bad;
}

inline void append(Complaints& to, const Complaints& from) {
  to.insert(to.end(), from.begin(), from.end());
}

// Everything the goldens say about the 448 tiles of a file.
inline Complaints compare_448(const Images& golden, const std::string& file, const Tiles& tiles,
                              const TileRule& rule) {
  const auto values = normalise(tiles.tiles, rule);
  Complaints bad = compare_hashes(golden.entry(file), tiles);
  if (!bad.empty() && tiles.tiles.size() != golden.entry(file)["tiles_448"]) return bad;
  append(bad, compare_statistics(golden.entry(file), values, size_t(rule.size) * rule.size));
  append(bad, compare_samples(golden.tensors, file, tiles, values, size_t(rule.size)));
  return bad;
}

// The complete normalised tensor at tile size 28.
inline Complaints compare_28(const Images& golden, const std::string& file, const Tiles& tiles,
                             const TileRule& rule) {
  const auto values = normalise(tiles.tiles, rule);
  const auto expected = golden.tensors.f32(file + "/tiles_small");
  if (values.size() != expected.size()) return {"size of tiles_small"};
  Complaints bad;
  for (size_t i = 0; i < values.size(); ++i)
    if (!near(values[i], expected[i], 1e-6)) bad.push_back("tiles_small " + std::to_string(i));
  return bad;
}

}  // namespace revenant::golden
