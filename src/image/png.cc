// PNG by libpng; the conversions are Pillow's.
#include <png.h>

#include <algorithm>
#include <cctype>
#include <csetjmp>
#include <cstring>

#include "base/error.h"
#include "image/codec.h"

namespace revenant::codec {
namespace {

// libpng reports by longjmp; the jumps stay inside functions that own nothing.
struct Reader {
  const uint8_t* next = nullptr;
  size_t left = 0;
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::jmp_buf escape;
  char message[128] = "";
  bool ended = false;  // before the last pixel

  Reader() = default;
  Reader(const Reader&) = delete;
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  Reader& reader = *static_cast<Reader*>(png_get_error_ptr(png));
  std::strncpy(reader.message, message, sizeof reader.message - 1);
  std::longjmp(reader.escape, 1);
}

void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep to, size_t size) {
  Reader& reader = *static_cast<Reader*>(png_get_io_ptr(png));
  reader.ended = size > reader.left;
  if (reader.ended) png_error(png, "");
  std::memcpy(to, reader.next, size);
  reader.next += size;
  reader.left -= size;
}

// Ancillary chunks say nothing that Pillow's convert("RGB") heeds, and may be bombs: skip them all.
void open(Reader& reader) {
  png_set_read_fn(reader.png, &reader, on_read);
  png_set_user_limits(reader.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // ours are checked already
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  // Encoders promise smaller windows than they use; like Pillow, believe none of them.
  png_set_option(reader.png, PNG_MAXIMUM_INFLATE_WINDOW, PNG_OPTION_ON);
}

bool read_header(Reader& reader) {
  if (setjmp(reader.escape)) return false;
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
  if (!reader.png) return false;
  reader.info = png_create_info_struct(reader.png);
  if (!reader.info) return false;
  open(reader);
  png_read_info(reader.png, reader.info);
  // From here on come the pixels, whose checksums Pillow does not look at (zlib has its own).
  png_set_crc_action(reader.png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  return true;
}

bool is_grey_16(const Reader& reader) {
  return png_get_bit_depth(reader.png, reader.info) == 16 &&
         png_get_color_type(reader.png, reader.info) == PNG_COLOR_TYPE_GRAY;
}

// Pillow opens 16-bit grey as integers, and converting those to RGB saturates: no shift by 8.
// The bytes are big-endian; the row has room for three a pixel.
void from_grey_16(png_structp, png_row_infop row, png_bytep data) {
  for (size_t i = row->width; i-- > 0;)
    std::memset(data + 3 * i, data[2 * i] ? 255 : data[2 * i + 1], 3);
}

void ask_for_rgb(const Reader& reader) {
  png_structp png = reader.png;
  if (is_grey_16(reader)) {
    png_set_read_user_transform_fn(png, from_grey_16);
    png_set_user_transform_info(png, nullptr, 8, 3);
    return;
  }
  png_set_strip_16(png);
  png_set_palette_to_rgb(png);
  png_set_expand_gray_1_2_4_to_8(png);
  png_set_gray_to_rgb(png);
  png_set_strip_alpha(png);
}

// libpng looks behind the last row for the end of the zlib data; a picture without it is whole.
bool has_all_pixels(const Reader& reader) {
  if (png_get_interlace_type(reader.png, reader.info) != PNG_INTERLACE_NONE)
    return png_get_current_pass_number(reader.png) == PNG_INTERLACE_ADAM7_PASSES;
  return png_get_current_row_number(reader.png) == png_get_image_height(reader.png, reader.info);
}

bool read_rows(Reader& reader, uint8_t* rgb, size_t row_bytes) {
  if (setjmp(reader.escape)) return has_all_pixels(reader);
  ask_for_rgb(reader);
  const int passes = png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  if (png_get_rowbytes(reader.png, reader.info) != row_bytes) png_error(reader.png, "odd row size");
  const size_t height = png_get_image_height(reader.png, reader.info);
  for (int pass = 0; pass < passes; ++pass)
    for (size_t y = 0; y < height; ++y) png_read_row(reader.png, rgb + y * row_bytes, nullptr);
  return true;
}

uint32_t big_endian(const uint8_t* p) {
  return uint32_t(p[0]) << 24 | uint32_t(p[1]) << 16 | uint32_t(p[2]) << 8 | p[3];
}

// The body of the first chunk `type` before the first `end`; empty where there is none, or not all
// of it.
std::string_view find_chunk(std::string_view file, std::string_view type, std::string_view end) {
  for (size_t at = 8; at <= file.size() && file.size() - at >= 12;) {
    const size_t size = big_endian(reinterpret_cast<const uint8_t*>(file.data()) + at);
    const std::string_view name = file.substr(at + 4, 4);
    if (name == end || size > file.size() - at - 12) break;
    if (name == type) return file.substr(at + 8, size);
    at += 12 + size;
  }
  return {};
}

// Several pictures, of which libpng shows one.
bool is_animated(std::string_view file) {
  const std::string_view control = find_chunk(file, "acTL", "IDAT");
  const auto* frames = reinterpret_cast<const uint8_t*>(control.data());
  return control.size() >= 4 && big_endian(frames) > 1;
}

// A chunk's name, for messages.
std::string name_of(std::string_view type) {
  const bool letters = std::ranges::all_of(type, [](unsigned char c) { return std::isalpha(c); });
  return letters ? std::string(type) : "an unnamed one";
}

// libpng lets other chunks stand before the header; then its size would be anything.
void check_start(const Source& source) {
  if (source.size() < 33) fail_short(source, "PNG");
  const uint8_t* chunk = source.data() + 8;
  if (std::memcmp(chunk, "\0\0\0\rIHDR", 8) != 0)
    throw Error("image", source.name, "a PNG that begins with an IHDR chunk of 13 bytes",
                name_of(source.text().substr(12, 4)) + " of " + std::to_string(big_endian(chunk)));
  if (is_animated(source.text()))
    throw Error("image", source.name, "one still picture", "an animation");
  check_size(source, big_endian(chunk + 8), big_endian(chunk + 12));
}

[[noreturn]] void refuse(const Source& source, const Reader& reader) {
  if (reader.ended) fail_short(source, "PNG");
  fail(source, "PNG", reader.message);
}

void start(Reader& reader, const Source& source) {
  check_start(source);
  reader.next = source.data();
  reader.left = source.size();
  if (!read_header(reader)) refuse(source, reader);
}

}  // namespace

void check_head_of_png(const Source& source) {
  Reader reader;
  start(reader, source);
}

Image decode_png(const Source& source) {
  Reader reader;
  start(reader, source);
  Image image = blank_image(int(png_get_image_width(reader.png, reader.info)),
                            int(png_get_image_height(reader.png, reader.info)));
  if (!read_rows(reader, image.rgb.data(), size_t(image.width) * 3)) refuse(source, reader);
  return image;
}

std::string_view exif_of_png(std::string_view file) { return find_chunk(file, "eXIf", "IEND"); }

}  // namespace revenant::codec
