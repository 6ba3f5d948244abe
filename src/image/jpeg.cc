// JPEG by libjpeg-turbo with its defaults (ISLOW, fancy upsampling), as Pillow uses it.
#include <csetjmp>
#include <cstdio>
// jpeglib.h needs stdio's types first.
#include <jerror.h>
#include <jpeglib.h>

#include "base/error.h"
#include "image/codec.h"

namespace revenant::codec {
namespace {

constexpr int max_scans = 200;  // a progressive file may ask for thousands of passes

// libjpeg reports by longjmp; the jumps stay inside functions that own nothing.
struct Reader {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX] = "";

  Reader() = default;
  Reader(const Reader&) = delete;
  ~Reader() { jpeg_destroy_decompress(&info); }
};

Reader& reader_of(j_common_ptr info) { return *static_cast<Reader*>(info->client_data); }

[[noreturn]] void give_up(j_common_ptr info) {
  Reader& reader = reader_of(info);
  info->err->format_message(info, reader.message);
  std::longjmp(reader.escape, 1);
}

// libjpeg fills what is missing with grey and only warns; like Pillow, refuse instead. Other
// warnings (extra bytes before a marker and the like) are harmless.
void on_message(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) give_up(info);
}

void on_progress(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= max_scans) return;
  Reader& reader = reader_of(info);
  std::snprintf(reader.message, sizeof reader.message, "more than %d scans", max_scans);
  std::longjmp(reader.escape, 1);
}

bool read_header(Reader& reader, const Source& source) {
  auto& info = reader.info;
  info.err = jpeg_std_error(&reader.errors);
  reader.errors.error_exit = give_up;
  reader.errors.emit_message = on_message;
  info.client_data = &reader;
  if (setjmp(reader.escape)) return false;
  jpeg_create_decompress(&info);
  reader.progress.progress_monitor = on_progress;
  info.progress = &reader.progress;
  jpeg_mem_src(&info, source.data(), source.size());
  jpeg_read_header(&info, TRUE);
  return true;
}

bool read_rows(Reader& reader, uint8_t* pixels, size_t stride) {
  auto& info = reader.info;
  if (setjmp(reader.escape)) return false;
  jpeg_start_decompress(&info);
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = pixels + info.output_scanline * stride;
    jpeg_read_scanlines(&info, &row, 1);
  }
  return true;
}

int scaled(int a, int b) {  // a * b / 255, rounded, as Pillow's MULDIV255
  const int t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

// Pillow takes every four-component file for Adobe's, which stores 255 - ink.
Image from_inverted_cmyk(const std::vector<uint8_t>& cmyk, Image image) {
  for (size_t i = 0; i < cmyk.size() / 4; ++i) {
    const int white = cmyk[4 * i + 3];
    for (size_t c = 0; c < 3; ++c)
      image.rgb[3 * i + c] = uint8_t(white - scaled(255 - cmyk[4 * i + c], white));
  }
  return image;
}

}  // namespace

Image decode_jpeg(const Source& source) {
  Reader reader;
  if (!read_header(reader, source)) fail(source, "JPEG", reader.message);
  auto& info = reader.info;
  Image image = allocate(source, info.image_width, info.image_height);
  const int parts = info.num_components;
  if (parts != 1 && parts != 3 && parts != 4)
    throw Error("image", source.name, "1, 3 or 4 JPEG components", std::to_string(parts));
  info.out_color_space = parts == 4 ? JCS_CMYK : JCS_RGB;
  const size_t stride = size_t(image.width) * (parts == 4 ? 4 : 3);
  std::vector<uint8_t> cmyk(parts == 4 ? stride * size_t(image.height) : 0);
  if (!read_rows(reader, parts == 4 ? cmyk.data() : image.rgb.data(), stride))
    fail(source, "JPEG", reader.message);
  return parts == 4 ? from_inverted_cmyk(cmyk, std::move(image)) : image;
}

}  // namespace revenant::codec
