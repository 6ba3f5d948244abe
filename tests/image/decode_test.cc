// Decoding: what must be refused and with which words, and the formats that the goldens lack. The
// inputs are encoded here.
#include <gtest/gtest.h>

#include "encoders.h"
#include "support/temporary.h"

namespace revenant {
namespace {

TEST(Decode, PngRoundTrip) {
  for (const auto& [w, h] : {std::pair(1, 1), {7, 3}, {1, 300}, {300, 1}, {64, 64}}) {
    const Image image = noise(w, h);
    EXPECT_TRUE(decode(encode_png(image)) == image);
  }
}

TEST(Decode, WebpLossless) {
  const Image image = noise(33, 17);
  uint8_t* data = nullptr;
  const size_t size = WebPEncodeLosslessRGB(image.rgb.data(), 33, 17, 99, &data);
  const std::string bytes = webp_of(data, size);
  EXPECT_TRUE(decode(bytes) == image);
  EXPECT_EQ(refusal(bytes.substr(0, 20)), short_of("WebP"));
  EXPECT_EQ(refusal(bytes.substr(0, bytes.size() / 2)), short_of("WebP"));
  EXPECT_EQ(refusal(bytes.substr(0, bytes.size() - 1)), short_of("WebP"));
  EXPECT_TRUE(refusal(bytes, {.max_pixels = 33 * 17 - 1}).ends_with("found 33 x 17"));
}

TEST(Decode, WebpAlphaIsDroppedNotBlended) {
  std::vector<uint8_t> rgba;
  for (int i = 0; i < 16 * 16; ++i)
    rgba.insert(rgba.end(), {10, 200, uint8_t(i), uint8_t(1 + i % 9)});
  uint8_t* data = nullptr;
  const size_t size = WebPEncodeLosslessRGBA(rgba.data(), 16, 16, 64, &data);
  const Image image = decode(webp_of(data, size));
  for (size_t i = 0; i < 256; ++i) {
    EXPECT_EQ(image.rgb[3 * i], 10);
    EXPECT_EQ(image.rgb[3 * i + 1], 200);
    EXPECT_EQ(image.rgb[3 * i + 2], i);
  }
}

TEST(Decode, WebpAnimationIsRefused) {
  // VP8X with the animation flag, 16 x 16, and an ANIM chunk.
  const std::string bytes =
      "RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x0f\0\0\x0f\0\0"s + "ANIM\x06\0\0\0\0\0\0\0\0\0"s;
  EXPECT_EQ(refusal(bytes), "[image] it: expected one still picture, found an animation");
}

TEST(Decode, JpegCmykAsPillow) {
  // Stored inverted, as Adobe does: 255 is no ink. white - round(ink * white / 255), exactly.
  const std::vector<std::pair<std::vector<uint8_t>, std::vector<uint8_t>>> cases{
      {{255, 155, 55, 200}, {200, 122, 43}}, {{0, 128, 255, 255}, {0, 128, 255}}};
  for (const auto& [cmyk, rgb] : cases) {
    std::vector<uint8_t> samples;
    for (int i = 0; i < 64; ++i) samples.insert(samples.end(), cmyk.begin(), cmyk.end());
    const Image image = decode(jpeg_of(samples, 8, 8, 4));
    EXPECT_EQ(std::vector(image.rgb.begin(), image.rgb.begin() + 3), rgb);
  }
}

// data/*.jpg and what Pillow reads in them; data/make.py made both.
TEST(Decode, JpegsOfEveryKindAsPillow) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(REVENANT_JPEGS)) {
    const Path file = entry.path();
    if (file.extension() != ".jpg") continue;
    const Image image = read_image(file);
    EXPECT_EQ(std::pair(image.width, image.height), std::pair(20, 13)) << file;
    const std::string pillow = read_file(Path(file).replace_extension(".rgb"));
    EXPECT_EQ(std::string(image.rgb.begin(), image.rgb.end()), pillow) << file;
    ++files;
  }
  EXPECT_EQ(files, 16);
}

TEST(Decode, JpegOfHundredsOfScansIsRefused) {
  auto scans = many_scans();
  const std::string bytes = jpeg_of(noise(16, 16).rgb, 16, 16, 3, scans);
  EXPECT_EQ(refusal(bytes), "[image] it: expected a readable JPEG file, found more than 200 scans");
  scans.resize(150);
  EXPECT_EQ(decode(jpeg_of(noise(16, 16).rgb, 16, 16, 3, scans)).width, 16);
}

TEST(Decode, NotAPicture) {
  const std::string start = "[image] it: expected a JPEG, PNG or WebP picture, found ";
  EXPECT_EQ(refusal(""), start + "an empty file");
  EXPECT_EQ(refusal("hello, I am no picture\n"), start + "text");
  EXPECT_EQ(refusal("gr\xc3\xbc\xc3\x9f dich"), start + "text");
  EXPECT_EQ(refusal("GIF89a\1\0\1\0"s), start + "a GIF file");
  EXPECT_EQ(refusal("\0\0\0\x18"
                    "ftypheic"s),
            start + "a HEIF, AVIF or video file");
  EXPECT_EQ(refusal("\0\1"s), start + "unknown data");
  EXPECT_EQ(refusal("\xff\xd8"s), start + "unknown data");
}

TEST(Decode, TooLargeIsRefusedByTheHeader) {
  const std::string allowed =
      "[image] it: expected 1 to 178956970 pixels (max-pixels), found ";  // Pillow's bound
  EXPECT_EQ(refusal(png_header(50000, 50000)), allowed + "50000 x 50000");
  EXPECT_EQ(refusal(png_header(0, 0)), allowed + "0 x 0");
  EXPECT_EQ(refusal(png_header(178956971, 1)), allowed + "178956971 x 1");
  EXPECT_EQ(refusal(png_header(1, 178956971)), allowed + "1 x 178956971");
  EXPECT_TRUE(refusal(png_header(0xffffffff, 0xffffffff)).ends_with("4294967295 x 4294967295"));
  EXPECT_TRUE(refusal(png_header(0, 5)).ends_with("found 0 x 5"));
  EXPECT_EQ(refusal(png_header(13377, 13377)), short_of("PNG"));  // 178,944,129
  EXPECT_EQ(refusal(png_header(13378, 13378)), allowed + "13378 x 13378");
  // Whatever the caller allows, a row must fit an int.
  EXPECT_TRUE(refusal(png_header(0x7fffffff, 1), {.max_pixels = int64_t(1) << 40})
                  .ends_with("715827882 pixels (max-pixels), found 2147483647 x 1"));
  std::string jpeg = jpeg_of(noise(16, 16).rgb, 16, 16, 3);
  const size_t frame = jpeg.find("\xff\xc0"s);
  jpeg.replace(frame + 5, 4, "\xc3\x50\xc3\x50");
  EXPECT_TRUE(refusal(jpeg).ends_with("found 50000 x 50000"));
}

// A small size before the true header: libpng skips it, whoever allocates must not believe it.
TEST(Decode, PngWithAChunkBeforeTheHeaderIsRefused) {
  const std::string begins =
      "[image] it: expected a PNG that begins with an IHDR chunk of 13 bytes, found ";
  const std::string size = png_header(64, 1).substr(16, 8);
  const std::string png = encode_png(blank_image(64, 16000));
  for (const char* type : {"teSt", "IHDR"}) {
    const std::string bytes = png.substr(0, 8) + png_chunk(type, size) + png.substr(8);
    EXPECT_EQ(refusal(bytes), begins + type + " of 8");
  }
  std::string longer = png_header(64, 1);
  longer[11] = 14;
  EXPECT_EQ(refusal(longer), begins + "IHDR of 14");
}

TEST(Decode, PngAnimationIsRefused) {
  const std::string png = encode_png(noise(16, 8));
  const std::string control = png_chunk("acTL", std::string("\0\0\0\2\0\0\0\0", 8));
  EXPECT_EQ(refusal(png.substr(0, 33) + control + png.substr(33)),
            "[image] it: expected one still picture, found an animation");
  EXPECT_EQ(decode(png + control).width, 16);  // too late to be one
}

TEST(Decode, LimitsAreInclusive) {
  const std::string png = encode_png(noise(20, 10));
  EXPECT_EQ(decode(png, {.max_pixels = 200}).width, 20);
  EXPECT_NE(refusal(png, {.max_pixels = 199}), "accepted");
}

TEST(Decode, TruncatedFilesAreRefused) {
  const std::string jpeg = jpeg_of(noise(64, 64).rgb, 64, 64, 3), png = encode_png(noise(64, 64));
  EXPECT_EQ(refusal(jpeg.substr(0, jpeg.size() / 2)), short_of("JPEG"));
  EXPECT_EQ(refusal(png.substr(0, png.size() / 2)), short_of("PNG"));
  EXPECT_EQ(refusal(png.substr(0, 12)), short_of("PNG"));
}

TEST(Decode, FilesKeepTheirNames) {
  EXPECT_THROW(read_image("/nonexistent/picture.png"), Error);
  const Temporary place;
  const Path path = place.path / "picture.png";
  write_file(path, encode_png(noise(5, 6)));
  EXPECT_TRUE(read_image(path) == noise(5, 6));
  write_file(path, "");
  try {
    read_image(path);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos);
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace revenant
