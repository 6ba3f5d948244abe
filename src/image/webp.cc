// WebP by libwebp: one still picture, alpha dropped.
#include <webp/decode.h>

#include "base/error.h"
#include "image/codec.h"

namespace revenant::codec {
namespace {

bool ended(VP8StatusCode status) {
  return status == VP8_STATUS_NOT_ENOUGH_DATA || status == VP8_STATUS_SUSPENDED;
}

VP8StatusCode decode_into(Image& image, const Source& source) {
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) return VP8_STATUS_INVALID_PARAM;
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = {image.rgb.data(), image.width * 3, image.rgb.size()};
  return WebPDecode(source.data(), source.size(), &config);
}

WebPBitstreamFeatures head_of(const Source& source) {
  WebPBitstreamFeatures header;
  const auto status = WebPGetFeatures(source.data(), source.size(), &header);
  if (ended(status)) fail_short(source, "WebP");
  if (status != VP8_STATUS_OK) fail(source, "WebP", "a bad header");
  if (header.has_animation) throw Error("image", source.name, "one still picture", "an animation");
  check_size(source, header.width, header.height);
  return header;
}

}  // namespace

void check_head_of_webp(const Source& source) { head_of(source); }

Image decode_webp(const Source& source) {
  const WebPBitstreamFeatures header = head_of(source);
  Image image = blank_image(header.width, header.height);
  const auto status = decode_into(image, source);
  if (ended(status)) fail_short(source, "WebP");
  if (status != VP8_STATUS_OK) fail(source, "WebP", "damaged picture data");
  return image;
}

// Only a file that announces it has it, as in libwebp: VP8X first, with the flag.
std::string_view exif_of_webp(std::string_view file) {
  if (file.size() < 21 || file.substr(12, 4) != "VP8X" || !(file[20] & 8)) return {};
  for (size_t at = 12; at <= file.size() && file.size() - at >= 8;) {
    const auto byte = [&](size_t i) { return size_t(uint8_t(file[at + i])); };
    const size_t size = byte(4) | byte(5) << 8 | byte(6) << 16 | byte(7) << 24;
    if (size > file.size() - at - 8) break;
    if (file.substr(at, 4) == "EXIF") return file.substr(at + 8, size);
    at += 8 + size + size % 2;
  }
  return {};
}

}  // namespace revenant::codec
