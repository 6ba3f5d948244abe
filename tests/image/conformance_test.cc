// The image goldens: decoding, tiling, resizing, normalisation; all 8-bit values exact.
#include <gtest/gtest.h>

#include "image/resize.h"
#include "image_golden.h"

namespace revenant {
namespace {

using namespace golden;

class ImageGoldens : public ImageTest {};

// The goldens keep large pictures only at every 7th pixel.
std::vector<uint8_t> every(const Image& image, int step) {
  Image out{(image.width + step - 1) / step, (image.height + step - 1) / step, {}};
  for (int y = 0; y < image.height; y += step)
    for (int x = 0; x < image.width; x += step)
      for (int c = 0; c < 3; ++c)
        out.rgb.push_back(image.rgb[(size_t(y) * size_t(image.width) + size_t(x)) * 3 + size_t(c)]);
  return planar(out);
}

TEST_F(ImageGoldens, DecodedPixels) {
  ASSERT_GE(golden.files().size(), 1u);
  for (const auto& file : golden.files()) {
    SCOPED_TRACE(file);
    const Image image = golden.read(file);
    const auto& entry = golden.entry(file);
    EXPECT_EQ(image.width, entry["width"]);
    EXPECT_EQ(image.height, entry["height"]);
    EXPECT_EQ(sha256(image.rgb), entry["rgb_sha256"]);
    if (golden.tensors.has(file + "/rgb")) {
      EXPECT_EQ(every(image, entry.value("rgb_subsampled", false) ? 7 : 1),
                golden.tensors.u8(file + "/rgb"));
    }
    if (entry.contains("decoded")) {
      EXPECT_TRUE(image == read_image(golden.root / entry["decoded"].get<std::string>()));
    }
  }
}

TEST_F(ImageGoldens, GridTables) {
  for (const auto& [table, rule] :
       {std::pair("grid_table_448", rule_448), {"grid_table_28", rule_28}}) {
    if (const auto why = golden.lacks_key(table)) GTEST_SKIP() << *why;
    ASSERT_GE(golden.expected[table].size(), 1u);
    for (const auto& row : golden.expected[table])
      EXPECT_EQ(choose_grid(row[0], row[1], rule), (Grid{row[2], row[3]})) << table << row;
  }
}

TEST_F(ImageGoldens, TilesOf448) {
  for (const auto& file : golden.files())
    EXPECT_EQ(compare_448(golden, file, tile(golden.read(file), rule_448), rule_448), Complaints{})
        << file;
}

TEST_F(ImageGoldens, TilesOf28) {
  for (const auto& file : golden.files()) {
    const Tiles tiles = tile(golden.read(file), rule_28);
    const auto& entry = golden.entry(file);
    EXPECT_EQ(tiles.grid, (Grid{entry["grid_small"][0], entry["grid_small"][1]})) << file;
    EXPECT_EQ(compare_28(golden, file, tiles, rule_28), Complaints{}) << file;
  }
}

Image rows_by_8(const Image& image) {
  Image out{image.width, (image.height + 7) / 8, {}};
  const ptrdiff_t stride = image.width * 3;
  for (int y = 0; y < image.height; y += 8)
    out.rgb.insert(out.rgb.end(), image.rgb.begin() + y * stride,
                   image.rgb.begin() + (y + 1) * stride);
  return out;
}

TEST_F(ImageGoldens, ResizedRows) {
  if (const auto why = lacks("images/expected_448")) GTEST_SKIP() << *why;
  size_t compared = 0;
  for (const std::string& file : golden.files()) {  // those that have rows there
    const auto stem = golden.root / "expected_448" / file.substr(0, file.find('.'));
    if (!std::filesystem::exists(stem.string() + ".rows_by_8.png")) continue;
    ++compared;
    const Image image = golden.read(file);
    const Grid grid = choose_grid(image.width, image.height, rule_448);
    EXPECT_TRUE(rows_by_8(resize_bicubic(image, 448 * grid.columns, 448 * grid.rows)) ==
                read_image(stem.string() + ".rows_by_8.png"))
        << file;
    EXPECT_TRUE(rows_by_8(resize_bicubic(image, 448, 448)) ==
                read_image(stem.string() + ".thumbnail_rows_by_8.png"))
        << file;
  }
  EXPECT_GE(compared, 1u);
}

TEST_F(ImageGoldens, Concatenation) {
  if (const auto why = golden.lacks_key("concatenation")) GTEST_SKIP() << *why;
  std::vector<Image> images;
  for (const auto& file : golden.expected["concatenation"]["inputs"])
    images.push_back(golden.read(file));
  const std::string result = golden.expected["concatenation"]["result"];
  EXPECT_TRUE(concatenate(images) == read_image(golden.root / result));
}

TEST_F(ImageGoldens, ClipPath) {
  if (const auto why = lacks("images/clip_expected.json")) GTEST_SKIP() << *why;
  const auto expected = read_json(golden.root / "clip_expected.json");
  const auto tensors = golden::open(golden.root / "clip_expected.safetensors");
  ASSERT_GE(expected["images"].size(), 1u);
  for (const auto& [file, entry] : expected["images"].items()) {
    SCOPED_TRACE(file);
    const Image image = golden.read(file);
    const Tiles small = tile(image, clip_rule(70)), full = tile(image, clip_rule(490));
    ASSERT_EQ(full.tiles.size(), 1u);
    EXPECT_EQ(planar(small.tiles[0]), tensors.u8(file + "/u8_70"));
    EXPECT_EQ(sha256(planar(small.tiles[0])), entry["u8_sha256_70"]);
    EXPECT_EQ(sha256(planar(full.tiles[0])), entry["u8_sha256_490"]);
    const auto index = tensors.i64(file + "/sample_index_490");  // channel, y, x
    const auto levels = tensors.u8(file + "/sample_u8_490");
    const auto samples = tensors.f32(file + "/sample_value_490");
    const auto values = normalise(full.tiles, clip_rule(490));
    for (size_t i = 0; i < samples.size(); ++i) {
      const auto pixel = size_t(index[3 * i + 1] * 490 + index[3 * i + 2]);
      EXPECT_EQ(full.tiles[0].rgb[3 * pixel + size_t(index[3 * i])], levels[i]);
      EXPECT_NEAR(values[size_t(index[3 * i]) * 490 * 490 + pixel], samples[i], 2e-6);
    }
    if (!tensors.has(file + "/pixel_values_70")) continue;
    const auto pixels = normalise(small.tiles, clip_rule(70));
    const auto pixels_expected = tensors.f32(file + "/pixel_values_70");
    ASSERT_EQ(pixels.size(), pixels_expected.size());
    for (size_t i = 0; i < pixels.size(); ++i) EXPECT_NEAR(pixels[i], pixels_expected[i], 2e-6);
  }
}

}  // namespace
}  // namespace revenant
