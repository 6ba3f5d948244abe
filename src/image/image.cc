#include "image/image.h"

#include <png.h>

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "image/codec.h"
#include "image/orientation.h"

namespace revenant {
namespace codec {

void check_size(const Source& source, int64_t width, int64_t height) {
  const int64_t bound = std::min(source.options.max_pixels, most_pixels);
  if (width < 1 || height < 1 || width > bound / height)
    throw Error("image", source.name, "1 to " + std::to_string(bound) + " pixels (max-pixels)",
                std::to_string(width) + " x " + std::to_string(height));
}

void fail(const Source& source, const std::string& format, const std::string& found) {
  throw Error("image", source.name, "a readable " + format + " file", found);
}

void fail_short(const Source& source, const std::string& format) {
  throw Error("image", source.name, "a whole " + format + " file", "one that ends too early");
}

}  // namespace codec

namespace {

using codec::Source;
using namespace std::string_view_literals;

bool is_jpeg(std::string_view head) { return head.starts_with("\xff\xd8\xff"); }

bool is_png(std::string_view head) { return head.starts_with("\x89PNG\r\n\x1a\n"); }

bool is_webp(std::string_view head) {
  return head.starts_with("RIFF") && head.substr(0, 12).ends_with("WEBP");
}

bool looks_like_text(std::string_view bytes) {
  return std::ranges::all_of(bytes.substr(0, 512), [](unsigned char c) {
    return (c >= 0x20 && c < 0xf8 && c != 0x7f) || c == '\t' || c == '\n' || c == '\r' || c == '\f';
  });
}

// For the message only: what people hand in most often.
std::string kind_of(std::string_view bytes) {
  struct Known {
    std::string_view magic;
    const char* name;
  };
  static constexpr Known known[] = {
      {"GIF8"sv, "a GIF file"},    {"BM"sv, "a BMP file"},         {"II*\0"sv, "a TIFF file"},
      {"MM\0*"sv, "a TIFF file"},  {"%PDF"sv, "a PDF file"},       {"<svg"sv, "an SVG file"},
      {"PK\3\4"sv, "a zip file"},  {"\0\0\1\0"sv, "an icon file"}, {"8BPS"sv, "a Photoshop file"},
      {"\x1f\x8b"sv, "gzip data"},
  };
  if (bytes.empty()) return "an empty file";
  for (const auto& [magic, name] : known)
    if (bytes.starts_with(magic)) return name;
  if (bytes.size() > 8 && bytes.substr(4, 4) == "ftyp") return "a HEIF, AVIF or video file";
  return looks_like_text(bytes) ? "text" : "unknown data";
}

struct Codec {
  void (*check_head)(const Source&);
  Image (*decode)(const Source&);
};

Codec codec_of(const Source& source) {
  const std::string_view head = source.text();
  if (is_jpeg(head)) return {codec::check_head_of_jpeg, codec::decode_jpeg};
  if (is_png(head)) return {codec::check_head_of_png, codec::decode_png};
  if (is_webp(head)) return {codec::check_head_of_webp, codec::decode_webp};
  throw Error("image", source.name, "a JPEG, PNG or WebP picture", kind_of(head));
}

}  // namespace

Image blank_image(int width, int height, uint8_t level) {
  CHECK(width > 0 && height > 0);
  return {width, height, std::vector<uint8_t>(size_t(width) * size_t(height) * 3, level)};
}

std::optional<Exif> exif_named(std::string_view name) {
  if (name == "ignore") return Exif::ignore;
  if (name == "apply") return Exif::apply;
  return {};
}

Image decode_image(std::span<const std::byte> bytes, const std::string& name,
                   const ReadOptions& options) {
  const Source source{bytes, name, options};
  Image image = codec_of(source).decode(source);
  const int orientation = options.exif == Exif::apply ? exif_orientation(bytes) : 1;
  return orientation == 1 ? image : turned(image, orientation);
}

Image read_image(const Path& path, const ReadOptions& options) {
  const MappedFile file(path);
  return decode_image(file.bytes(), path.string(), options);
}

void check_image_head(std::span<const std::byte> bytes, const std::string& name,
                      const ReadOptions& options) {
  const Source source{bytes, name, options};
  codec_of(source).check_head(source);
}

int exif_orientation(std::span<const std::byte> bytes) {
  const std::string_view file(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return orientation_in(is_jpeg(file)   ? codec::exif_of_jpeg(file)
                        : is_png(file)  ? codec::exif_of_png(file)
                        : is_webp(file) ? codec::exif_of_webp(file)
                                        : "");
}

std::string encode_png(const Image& image) {
  CHECK(image.width > 0 && image.height > 0);
  CHECK(image.rgb.size() == size_t(image.width) * size_t(image.height) * 3);
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = png_uint_32(image.width);
  header.height = png_uint_32(image.height);
  header.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(header);
  std::string out(size, '\0');
  const int ok =
      png_image_write_to_memory(&header, out.data(), &size, 0, image.rgb.data(), 0, nullptr);
  if (!ok) throw Error("image", "PNG", std::string("cannot encode: ") + header.message);
  out.resize(size);
  return out;
}

}  // namespace revenant
