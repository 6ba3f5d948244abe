// EXIF's orientation: where each pixel must go, and in which files it is found.
#include <gtest/gtest.h>

#include <set>

#include "encoders.h"
#include "image/orientation.h"
#include "support/temporary.h"

namespace revenant {
namespace {

std::string bytes_of(uint64_t value, size_t size, bool little) {
  std::string out;
  for (size_t i = 0; i < size; ++i) out += char(value >> 8 * (little ? i : size - 1 - i));
  return out;
}

// A TIFF structure of two tags, ImageWidth and Orientation, the second of type SHORT (3) or LONG
// (4).
std::string tiff(int orientation, bool little = false, int type = 3) {
  const auto number = [&](uint64_t value, size_t size) { return bytes_of(value, size, little); };
  const size_t size = type == 4 ? 4 : 2;
  return (little ? "II*\0"s : "MM\0*"s) + number(8, 4) + number(2, 2) +  //
         number(0x0100, 2) + number(4, 2) + number(1, 4) + number(6, 4) + number(0x0112, 2) +
         number(uint64_t(type), 2) + number(1, 4) + number(uint64_t(orientation), size) +
         std::string(4 - size, '\0') + number(0, 4);
}

std::string jpeg_with(const std::string& exif, const Image& image = noise(24, 16)) {
  const std::string jpeg = jpeg_of(image.rgb, image.width, image.height, 3);
  const auto segment = [](const std::string& body) {
    return "\xff\xe1"s + bytes_of(body.size() + 2, 2, false) + body;
  };
  return jpeg.substr(0, 20) + segment("http://ns.adobe.com/xap/1.0/\0<x/>"s) +
         segment("Exif\0\0"s + exif) + jpeg.substr(20);  // behind JFIF's 18 bytes
}

std::string png_with(const std::string& exif, bool behind = false,
                     const Image& image = noise(6, 4)) {
  const std::string png = encode_png(image), chunk = png_chunk("eXIf", exif);
  const size_t at = behind ? png.size() - 12 : 33;
  return png.substr(0, at) + chunk + png.substr(at);
}

std::string webp_with(const std::string& exif, char flags = 8) {
  const Image image = noise(6, 4);
  uint8_t* data = nullptr;
  const size_t size = WebPEncodeLosslessRGB(image.rgb.data(), 6, 4, 18, &data);
  const std::string plain = webp_of(data, size).substr(12);
  const auto chunk = [](const std::string& type, const std::string& body) {
    return type + bytes_of(body.size(), 4, true) + body + std::string(body.size() % 2, '\0');
  };
  const std::string body =
      "WEBP" + chunk("VP8X", flags + "\0\0\0"s + bytes_of(5, 3, true) + bytes_of(3, 3, true)) +
      plain + chunk("EXIF", exif);
  return "RIFF" + bytes_of(body.size(), 4, true) + body;
}

int orientation_of(const std::string& file) {
  return exif_orientation(std::as_bytes(std::span(file)));
}

// The standard's words: where the stored picture's row 0 and its column 0 are seen.
struct Seen {
  char row_0, column_0;  // T top, B bottom, L left, R right
};
constexpr Seen seen[] = {{'T', 'L'}, {'T', 'R'}, {'B', 'R'}, {'B', 'L'},
                         {'L', 'T'}, {'R', 'T'}, {'R', 'B'}, {'L', 'B'}};

TEST(Orientation, TurnsAsTheStandardSays) {
  const Image image = noise(5, 3);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Image out = turned(image, orientation);
    const auto [row_0, column_0] = seen[orientation - 1];
    const bool upright = row_0 == 'T' || row_0 == 'B';
    ASSERT_EQ(out.width, upright ? 5 : 3);
    ASSERT_EQ(out.height, upright ? 3 : 5);
    for (int row = 0; row < 3; ++row)
      for (int column = 0; column < 5; ++column) {
        const int along = row_0 == 'T' || row_0 == 'L' ? row : 2 - row;
        const int across = column_0 == 'L' || column_0 == 'T' ? column : 4 - column;
        const int x = upright ? across : along, y = upright ? along : across;
        for (int c = 0; c < 3; ++c)
          EXPECT_EQ(out.rgb[size_t((y * out.width + x) * 3 + c)],
                    image.rgb[size_t((row * 5 + column) * 3 + c)])
              << orientation;
      }
  }
  EXPECT_THROW(turned(image, 0), CheckFailed);
  EXPECT_THROW(turned(image, 9), CheckFailed);
}

TEST(Orientation, IsFoundInEveryFormat) {
  for (int orientation = 1; orientation <= 8; ++orientation)
    for (const bool little : {false, true})
      for (const int type : {3, 4})
        for (const std::string& prefix : {""s, "Exif\0\0"s}) {
          const std::string exif = tiff(orientation, little, type);
          EXPECT_EQ(orientation_of(jpeg_with(exif)), orientation);
          EXPECT_EQ(orientation_of(png_with(prefix + exif)), orientation);
          EXPECT_EQ(orientation_of(png_with(prefix + exif, true)), orientation);
          EXPECT_EQ(orientation_of(webp_with(prefix + exif)), orientation);
        }
}

TEST(Orientation, IsAppliedOnlyIfAsked) {
  for (int orientation = 1; orientation <= 8; ++orientation)
    for (const std::string& file : {jpeg_with(tiff(orientation)), png_with(tiff(orientation)),
                                    webp_with(tiff(orientation))}) {
      const Image stored = decode(file);
      EXPECT_GT(stored.width, stored.height);
      EXPECT_TRUE(decode(file, {.exif = Exif::ignore}) == stored);
      EXPECT_TRUE(decode(file, {.exif = Exif::apply}) == turned(stored, orientation));
    }
}

// The first of two counts; what libwebp would not look at is not looked at.
TEST(Orientation, IsTakenFromOnePlace) {
  const std::string jpeg = jpeg_with(tiff(6)), other = jpeg_with(tiff(3));
  EXPECT_EQ(orientation_of(jpeg.substr(0, jpeg.size() - 2) + other.substr(2)), 6);
  EXPECT_EQ(orientation_of(jpeg_with("no TIFF"s)), 1);
  EXPECT_EQ(orientation_of(webp_with(tiff(6), 0)), 1);  // the flag is not set
  EXPECT_EQ(orientation_of(encode_png(noise(3, 2))), 1);
  EXPECT_EQ(orientation_of(""), 1);
  EXPECT_EQ(orientation_of("GIF89a"), 1);
}

TEST(Orientation, BrokenExifIsIgnored) {
  std::vector<std::string> broken{tiff(0), tiff(9), tiff(0xffff), tiff(6, false, 1),
                                  tiff(6, false, 2)};
  const std::string good = tiff(6);
  // All of it is needed but what follows the directory's last entry.
  for (size_t size = 0; size + 4 < good.size(); ++size) broken.push_back(good.substr(0, size));
  for (const auto& [at, bytes] :
       std::vector<std::pair<size_t, std::string>>{{0, "XX"},
                                                   {0, "II"},
                                                   {2, "\0+"s},
                                                   {4, "\xff\xff\xff\xff"},
                                                   {4, "\0\0\0\7"s},
                                                   {4, "\0\1\0\0"s},
                                                   {8, "\0\0"s},
                                                   {8, "\0\1"s},
                                                   {26, "\0\0\0\0"s},
                                                   {26, "\0\0\0\3"s}})
    broken.push_back(std::string(good).replace(at, bytes.size(), bytes));
  for (const std::string& exif : broken) {
    EXPECT_EQ(orientation_in(exif), 1) << testing::PrintToString(exif);
    for (const std::string& file : {jpeg_with(exif), png_with(exif), webp_with(exif)})
      EXPECT_TRUE(decode(file, {.exif = Exif::apply}) == decode(file));
  }
  // A directory that promises more entries than there are still has those that are there.
  EXPECT_EQ(orientation_in(std::string(good).replace(8, 2, "\xff\xff")), 6);
}

TEST(Orientation, CutFilesNeverCrash) {
  for (const std::string& file : {jpeg_with(tiff(6)), png_with(tiff(6)), webp_with(tiff(6))})
    for (size_t size = 0; size < file.size(); ++size) {
      const int found = orientation_of(file.substr(0, size));
      EXPECT_TRUE(found == 1 || found == 6);
    }
}

TEST(Survey, CountsWhatIsTurnedAndNamesWhatIsDamaged) {
  const Temporary place;
  std::set<Path> files{place.path / "not there"};
  for (const auto& [name, orientation] : {std::pair("a", 6), {"b", 1}, {"c", 3}, {"d", 1}}) {
    write_file(place.path / name, png_with(tiff(orientation)));
    files.insert(place.path / name);
  }
  const std::string start = "2 of 5 pictures carry an EXIF orientation and were ";
  EXPECT_EQ(orientation_note(survey(files), Exif::ignore), start + "not turned");
  EXPECT_EQ(orientation_note(survey(files), Exif::apply), start + "turned");
  EXPECT_EQ(orientation_note(survey({place.path / "b"}), Exif::apply), "");
  EXPECT_EQ(survey(files).damaged.size(), 1u);
  write_file(place.path / "c", "text");
  const Survey seen = survey(files);
  EXPECT_EQ(seen.pictures, 5u);
  EXPECT_EQ(seen.oriented, 1u);
  ASSERT_EQ(seen.damaged.size(), 2u);  // in the order of their names
  EXPECT_NE(seen.damaged[0].find("c: expected a JPEG, PNG or WebP picture"), std::string::npos);
  EXPECT_NE(seen.damaged[1].find("not there"), std::string::npos);
}

// A head is refused as the whole file would be, and nothing behind it is looked at.
TEST(Survey, AHeadIsEnough) {
  for (const std::string& file : {jpeg_with(tiff(6)), png_with(tiff(6)), webp_with(tiff(6))}) {
    const auto refusal = [](const auto& read) -> std::string {
      try {
        read();
      } catch (const Error& error) {
        return error.what();
      }
      return "";
    };
    size_t whole_heads = 0;
    for (size_t size = 0; size <= file.size(); ++size) {
      const std::string cut = file.substr(0, size);
      const auto bytes = std::as_bytes(std::span(cut));
      const std::string head = refusal([&] { check_image_head(bytes, "cut"); });
      whole_heads += head.empty();
      if (!head.empty()) {
        EXPECT_EQ(head, refusal([&] { decode_image(bytes, "cut"); })) << size;
      }
    }
    EXPECT_GT(whole_heads, 1u);  // where pixels are missing, too
    const auto bytes = std::as_bytes(std::span(file));
    EXPECT_NE(refusal([&] { check_image_head(bytes, "big", {.max_pixels = 9}); }), "");
  }
}

}  // namespace
}  // namespace revenant
