// JPEG by libjpeg-turbo with its defaults (ISLOW, fancy upsampling), as Pillow uses it.
#include <algorithm>
#include <csetjmp>
#include <cstdio>
// jpeglib.h needs stdio's types first.
#include <jerror.h>
#include <jpeglib.h>

#include "base/error.h"
#include "image/codec.h"

namespace revenant::codec {
namespace {

using namespace std::string_view_literals;

constexpr int max_scans = 200;  // a progressive file may ask for thousands of passes

// libjpeg reports by longjmp; the jumps stay inside functions that own nothing.
struct Reader {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX] = "";
  bool ended = false;  // before the last pixel

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

// libjpeg fills what is missing with grey and only warns; like Pillow, refuse instead, also if only
// the end marker is missing. Other warnings (extra bytes before a marker and the like) are heeded
// by nobody.
void on_message(j_common_ptr info, int level) {
  if (level >= 0 || info->err->msg_code != JWRN_JPEG_EOF) return;
  reader_of(info).ended = true;
  give_up(info);
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

int scaled(int a, int b) {  // a * b / 255, rounded, as Pillow's MULDIV255
  const int t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

// Pillow takes every four-component file for Adobe's, which stores 255 - ink.
void from_inverted_cmyk(const uint8_t* cmyk, uint8_t* rgb, size_t width) {
  for (size_t i = 0; i < width; ++i) {
    const int white = cmyk[4 * i + 3];
    for (size_t c = 0; c < 3; ++c)
      rgb[3 * i + c] = uint8_t(white - scaled(255 - cmyk[4 * i + c], white));
  }
}

// `cmyk` has room for a row of four components, or is null.
bool read_rows(Reader& reader, uint8_t* rgb, uint8_t* cmyk) {
  auto& info = reader.info;
  if (setjmp(reader.escape)) return false;
  jpeg_start_decompress(&info);
  while (info.output_scanline < info.output_height) {
    uint8_t* to = rgb + size_t(info.output_scanline) * info.output_width * 3;
    JSAMPROW row = cmyk ? cmyk : to;
    jpeg_read_scanlines(&info, &row, 1);
    if (cmyk) from_inverted_cmyk(cmyk, to, info.output_width);
  }
  return true;
}

[[noreturn]] void refuse(const Source& source, const Reader& reader) {
  if (reader.ended) fail_short(source, "JPEG");
  fail(source, "JPEG", reader.message);
}

void open(Reader& reader, const Source& source) {
  if (!read_header(reader, source)) refuse(source, reader);
  check_size(source, reader.info.image_width, reader.info.image_height);
  const int parts = reader.info.num_components;
  if (parts != 1 && parts != 3 && parts != 4)
    throw Error("image", source.name, "1, 3 or 4 JPEG components", std::to_string(parts));
}

}  // namespace

void check_head_of_jpeg(const Source& source) {
  Reader reader;
  open(reader, source);
}

Image decode_jpeg(const Source& source) {
  Reader reader;
  open(reader, source);
  auto& info = reader.info;
  const int parts = info.num_components;
  info.out_color_space = parts == 4 ? JCS_CMYK : JCS_RGB;
  Image image = blank_image(int(info.image_width), int(info.image_height));
  std::vector<uint8_t> cmyk(parts == 4 ? size_t(image.width) * 4 : 0);
  if (!read_rows(reader, image.rgb.data(), parts == 4 ? cmyk.data() : nullptr))
    refuse(source, reader);
  return image;
}

// The first APP1 segment that says Exif, before the first scan.
std::string_view exif_of_jpeg(std::string_view file) {
  for (size_t at = 2; (at = file.find('\xff', at)) != file.npos;) {
    at = std::min(file.find_first_not_of('\xff', at), file.size());
    if (file.size() - at < 3) break;
    const auto byte = [&](size_t i) { return uint8_t(file[at + i]); };
    const bool alone = byte(0) <= 0x01 || (byte(0) >= 0xd0 && byte(0) <= 0xd8);
    if (byte(0) == 0xda || byte(0) == 0xd9) break;  // scan, end
    const size_t length = alone ? 0 : size_t(byte(1)) << 8 | byte(2);
    const std::string_view body = file.substr(at + 1, length);
    if (byte(0) == 0xe1 && body.size() == length && length >= 8 &&
        body.substr(2, 6) == "Exif\0\0"sv)
      return body.substr(2);
    at += 1 + length;
  }
  return {};
}

}  // namespace revenant::codec
