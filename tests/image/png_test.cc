// PNG as other encoders write it, against plain formulas: every kind of pixel, and the quirks that
// Pillow reads. docs/pictures.md has the table.
#include <gtest/gtest.h>
#include <zlib.h>

#include <array>

#include "encoders.h"

namespace revenant {
namespace {

std::string deflated(const std::string& data) {
  std::string out(compressBound(data.size()), '\0');
  uLongf size = out.size();
  compress2(reinterpret_cast<Bytef*>(out.data()), &size,
            reinterpret_cast<const Bytef*>(data.data()), data.size(), 9);
  return out.substr(0, size);
}

struct Form {
  int width, height, depth,
      type;  // type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha
  bool interlaced = false;

  int channels() const { return type == 2 ? 3 : type == 4 ? 2 : type == 6 ? 4 : 1; }
};

// `middle`: the chunks between header and end.
std::string png_file(const Form& form, const std::string& middle) {
  std::string header = big_endian(uint32_t(form.width)) + big_endian(uint32_t(form.height));
  for (const int byte : {form.depth, form.type, 0, 0, int(form.interlaced)}) header += char(byte);
  return "\x89PNG\r\n\x1a\n"s + png_chunk("IHDR", header) + middle + png_chunk("IEND", "");
}

using Samples = std::vector<int>;  // [height][width][channels]

Samples random_samples(const Form& form, uint64_t seed) {
  Random random(seed);
  Samples samples(size_t(form.width * form.height * form.channels()));
  for (int& sample : samples) sample = int(random.below(uint64_t(1) << form.depth));
  return samples;
}

// The rows of every (dx)th, (dy)th pixel from (x, y), each after its filter byte, 0.
std::string rows_of(const Form& form, const Samples& samples, int x0, int y0, int dx, int dy) {
  std::string out;
  for (int y = y0; y < form.height && x0 < form.width; y += dy) {
    out += '\0';
    int bits = 0;
    for (int x = x0; x < form.width; x += dx)
      for (int c = 0; c < form.channels(); ++c)
        for (int bit = form.depth; bit-- > 0; ++bits) {
          if (bits % 8 == 0) out += '\0';
          const int sample = samples[size_t((y * form.width + x) * form.channels() + c)];
          out.back() = char(out.back() | (sample >> bit & 1) << (7 - bits % 8));
        }
  }
  return out;
}

std::string pixels_of(const Form& form, const Samples& samples) {
  if (!form.interlaced) return rows_of(form, samples, 0, 0, 1, 1);
  std::string out;
  for (const auto& [x, y, dx, dy] : {std::array{0, 0, 8, 8},
                                     {4, 0, 8, 8},
                                     {0, 4, 4, 8},
                                     {2, 0, 4, 4},
                                     {0, 2, 2, 4},
                                     {1, 0, 2, 2},
                                     {0, 1, 1, 2}})
    out += rows_of(form, samples, x, y, dx, dy);
  return out;
}

// Three bytes an entry, no two alike.
std::string palette(size_t entries) {
  std::string out;
  for (size_t i = 0; i < entries; ++i)
    for (size_t c = 0; c < 3; ++c) out += char(i * 7 + c * 50 + 3);
  return out;
}

// What Pillow's convert("RGB") makes of a sample that stands for channel `c`.
int level(const Form& form, int sample, size_t c, size_t entries) {
  if (form.type == 3)
    return size_t(sample) < entries ? uint8_t(palette(entries)[size_t(sample) * 3 + c]) : 0;
  if (form.depth == 16) return form.type == 0 ? std::min(sample, 255) : sample >> 8;
  return sample * 255 / ((1 << form.depth) - 1);
}

Image expected(const Form& form, const Samples& samples, size_t entries) {
  Image image = blank_image(form.width, form.height);
  for (size_t i = 0; i < image.rgb.size(); ++i) {
    const size_t channel = form.channels() >= 3 ? i % 3 : 0;  // alpha is dropped
    const int sample = samples[i / 3 * size_t(form.channels()) + channel];
    image.rgb[i] = uint8_t(level(form, sample, i % 3, entries));
  }
  return image;
}

TEST(Png, EveryKindOfPixel) {
  for (const auto& [type, depths] : std::vector<std::pair<int, std::vector<int>>>{
           {0, {1, 2, 4, 8, 16}}, {2, {8, 16}}, {3, {1, 2, 4, 8}}, {4, {8, 16}}, {6, {8, 16}}})
    for (const int depth : depths)
      for (const int width : {1, 3, 37})
        for (const bool interlaced : {false, true})
          for (const bool transparent : {false, true}) {
            const Form form{width, 11, depth, type, interlaced};
            const Samples samples = random_samples(form, uint64_t(width * depth + type));
            const size_t entries = size_t(1) << std::min(depth, 8);
            std::string middle = type == 3 ? png_chunk("PLTE", palette(entries)) : "";
            if (transparent && type < 4)
              middle += png_chunk(
                  "tRNS", type == 3 ? "\x80"s : std::string(size_t(2 * form.channels()), '\0'));
            middle += png_chunk("IDAT", deflated(pixels_of(form, samples)));
            EXPECT_TRUE(decode(png_file(form, middle)) == expected(form, samples, entries))
                << "type " << type << ", depth " << depth << ", width " << width << interlaced;
          }
}

TEST(Png, WhatAPaletteLacksIsBlack) {
  const Form form{40, 30, 8, 3};
  const Samples samples = random_samples(form, 1);
  const std::string pixels = png_chunk("IDAT", deflated(pixels_of(form, samples)));
  EXPECT_TRUE(decode(png_file(form, png_chunk("PLTE", palette(10)) + pixels)) ==
              expected(form, samples, 10));
}

// An RGB picture whose rows repeat each other, 2,701 bytes apart: more than the smaller windows.
class PngQuirks : public testing::Test {
 protected:
  PngQuirks() {
    const Samples row = random_samples({900, 1, 8, 2}, 5);
    for (int y = 0; y < form.height; ++y) samples.insert(samples.end(), row.begin(), row.end());
    zlib = deflated(pixels_of(form, samples));
  }
  std::string with(const std::string& before, const std::string& after = "") const {
    return png_file(form, before + png_chunk("IDAT", zlib) + after);
  }
  bool reads(const std::string& file) const { return decode(file) == expected(form, samples, 0); }

  const Form form{900, 8, 8, 2};
  Samples samples;
  std::string zlib;
};

TEST_F(PngQuirks, AnyPromisedWindow) {
  for (int window = 0; window < 16; ++window) {  // 256 << window; above 7 there is none
    std::string data = zlib;
    data[0] = char(window << 4 | 8);
    data[1] = char(31 - uint8_t(data[0]) * 256 % 31);  // the two bytes together: a multiple of 31
    for (const size_t piece : {data.size(), size_t(1), size_t(2), size_t(7)}) {
      std::string chunks = png_chunk("IDAT", "");
      for (size_t at = 0; at < data.size(); at += piece)
        chunks += png_chunk("IDAT", data.substr(at, piece));
      if (window < 8)
        EXPECT_TRUE(reads(png_file(form, chunks))) << window << ", " << piece;
      else
        EXPECT_EQ(refusal(png_file(form, chunks)),
                  "[image] it: expected a readable PNG file, found IDAT: invalid window size");
    }
  }
}

TEST_F(PngQuirks, WhatFollowsThePixelsDoesNotMatter) {
  const std::string file = with("");
  EXPECT_TRUE(reads(file.substr(0, file.size() - 12)));  // no IEND
  EXPECT_TRUE(reads(file.substr(0, file.size() - 16)));  // nor the checksum of the pixels' chunk
  EXPECT_TRUE(reads(file + "and more"));
  EXPECT_TRUE(reads(with("", png_chunk("ABCD", "unknown, critical"))));
  EXPECT_EQ(refusal(file.substr(0, file.size() - 30)), short_of("PNG"));
  const std::string whole = zlib;
  zlib = whole + "and more";
  EXPECT_TRUE(reads(with("")));
  zlib = whole.substr(0, whole.size() - 4);  // no Adler-32
  EXPECT_TRUE(reads(with("")));
  zlib = whole.substr(0, whole.size() - 8);
  EXPECT_EQ(refusal(with("")),
            "[image] it: expected a readable PNG file, found Not enough image data");
}

TEST_F(PngQuirks, NorDoWrongChecksumsOfPixels) {
  std::string file = with("");
  file[file.size() - 13] ^= 1;  // before the 12 bytes of IEND: the checksum of IDAT
  EXPECT_TRUE(reads(file));
  std::string first = png_chunk("IDAT", zlib.substr(0, 100));  // and of one with pixels behind it
  first.back() ^= 1;
  EXPECT_TRUE(reads(png_file(form, first + png_chunk("IDAT", zlib.substr(100)))));
  zlib.back() ^= 1;  // but zlib's own says that the pixels are others
  EXPECT_EQ(refusal(with("")),
            "[image] it: expected a readable PNG file, found IDAT: incorrect data check");
}

TEST_F(PngQuirks, AncillaryChunksDecideNothing) {
  for (const char* type : {"gAMA", "sRGB", "cHRM", "iCCP", "tRNS", "sBIT", "bKGD", "hIST", "pHYs",
                           "tIME", "tEXt", "zTXt", "iTXt", "eXIf", "zzZz"})
    for (const std::string& body : {""s, "\xff\0\1"s, "key\0\0not deflated"s}) {
      const std::string chunk = png_chunk(type, body);
      EXPECT_TRUE(reads(with(chunk))) << type;
      EXPECT_TRUE(reads(with("", chunk))) << type;
      EXPECT_TRUE(reads(with(chunk + chunk))) << type;
      std::string damaged = chunk;
      damaged.back() ^= 1;
      EXPECT_TRUE(reads(with(damaged))) << type;
    }
}

TEST_F(PngQuirks, CriticalChunksMustBeRight) {
  std::string file = with("");
  file[32] ^= 1;
  EXPECT_EQ(refusal(file), "[image] it: expected a readable PNG file, found IHDR: CRC error");
  EXPECT_EQ(refusal(with(png_chunk("ABCD", ""))),
            "[image] it: expected a readable PNG file, found ABCD: unhandled critical chunk");
  const Form indexed{8, 8, 8, 3};
  const std::string pixels =
      png_chunk("IDAT", deflated(pixels_of(indexed, random_samples(indexed, 1))));
  EXPECT_EQ(refusal(png_file(indexed, pixels)),
            "[image] it: expected a readable PNG file, found IDAT: Missing PLTE before IDAT");
  std::string colours = png_chunk("PLTE", palette(256));
  colours.back() ^= 1;
  EXPECT_EQ(refusal(png_file(indexed, colours + pixels)),
            "[image] it: expected a readable PNG file, found PLTE: CRC error");
}

}  // namespace
}  // namespace revenant
