// PNG by libpng; the conversions are Pillow's.
#include <png.h>

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
  if (size > reader.left) png_error(png, "the file ends too early");
  std::memcpy(to, reader.next, size);
  reader.next += size;
  reader.left -= size;
}

// Ancillary chunks say nothing that Pillow's convert("RGB") heeds, and may be bombs: skip them all.
void open(Reader& reader) {
  png_set_read_fn(reader.png, &reader, on_read);
  png_set_user_limits(reader.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // ours are checked already
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
}

bool read_header(Reader& reader) {
  if (setjmp(reader.escape)) return false;
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
  if (!reader.png) return false;
  reader.info = png_create_info_struct(reader.png);
  if (!reader.info) return false;
  open(reader);
  png_read_info(reader.png, reader.info);
  return true;
}

bool is_grey_16(const Reader& reader) {
  return png_get_bit_depth(reader.png, reader.info) == 16 &&
         png_get_color_type(reader.png, reader.info) == PNG_COLOR_TYPE_GRAY;
}

void ask_for_rgb(png_structp png) {
  png_set_strip_16(png);
  png_set_palette_to_rgb(png);
  png_set_expand_gray_1_2_4_to_8(png);
  png_set_gray_to_rgb(png);
  png_set_strip_alpha(png);
}

bool read_rows(Reader& reader, png_bytepp rows, size_t row_bytes) {
  if (setjmp(reader.escape)) return false;
  if (!is_grey_16(reader)) ask_for_rgb(reader.png);
  png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  if (png_get_rowbytes(reader.png, reader.info) != row_bytes) png_error(reader.png, "odd row size");
  png_read_image(reader.png, rows);
  return true;
}

// Pillow opens 16-bit grey as integers, and converting those to RGB saturates: no shift by 8.
Image from_grey_16(const std::vector<uint8_t>& grey, Image image) {
  for (size_t i = 0; i < grey.size() / 2; ++i) {
    const uint8_t level = grey[2 * i] ? 255 : grey[2 * i + 1];  // big-endian
    std::memset(&image.rgb[3 * i], level, 3);
  }
  return image;
}

uint32_t big_endian(const uint8_t* p) {
  return uint32_t(p[0]) << 24 | uint32_t(p[1]) << 16 | uint32_t(p[2]) << 8 | p[3];
}

// An acTL chunk before the pixels: several pictures, of which libpng shows one.
void refuse_animation(const Source& source) {
  for (size_t at = 8; at + 8 <= source.size();) {
    if (std::memcmp(source.data() + at + 4, "IDAT", 4) == 0) return;
    if (std::memcmp(source.data() + at + 4, "acTL", 4) == 0)
      throw Error("image", source.name, "one still picture", "an animation");
    at += size_t(12) + big_endian(source.data() + at);
  }
}

// libpng lets other chunks stand before the header; then these bytes would be anything.
Image picture_for(const Source& source) {
  if (source.size() < 24) fail(source, "PNG", "the file ends too early");
  const uint8_t* chunk = source.data() + 8;
  if (std::memcmp(chunk, "\0\0\0\rIHDR", 8) != 0)
    fail(source, "PNG", "its first chunk is not an IHDR of 13 bytes");
  refuse_animation(source);
  return allocate(source, big_endian(chunk + 8), big_endian(chunk + 12));
}

bool has_size_of(const Image& image, const Reader& reader) {
  return png_get_image_width(reader.png, reader.info) == png_uint_32(image.width) &&
         png_get_image_height(reader.png, reader.info) == png_uint_32(image.height);
}

}  // namespace

Image decode_png(const Source& source) {
  Image image = picture_for(source);
  Reader reader;
  reader.next = source.data();
  reader.left = source.size();
  if (!read_header(reader)) fail(source, "PNG", reader.message);
  if (!has_size_of(image, reader)) fail(source, "PNG", "two headers of different sizes");
  const bool grey = is_grey_16(reader);
  const size_t row_bytes = size_t(image.width) * (grey ? 2 : 3);
  std::vector<uint8_t> raw(grey ? row_bytes * size_t(image.height) : 0);
  std::vector<png_bytep> rows(static_cast<size_t>(image.height));
  for (size_t y = 0; y < rows.size(); ++y)
    rows[y] = (grey ? raw.data() : image.rgb.data()) + y * row_bytes;
  if (!read_rows(reader, rows.data(), row_bytes)) fail(source, "PNG", reader.message);
  return grey ? from_grey_16(raw, std::move(image)) : image;
}

}  // namespace revenant::codec
