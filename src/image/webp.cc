// WebP by libwebp: one still picture, alpha dropped.
#include <webp/decode.h>

#include "base/error.h"
#include "image/codec.h"

namespace revenant::codec {

Image decode_webp(const Source& source) {
  WebPBitstreamFeatures header;
  const auto status = WebPGetFeatures(source.data(), source.size(), &header);
  if (status == VP8_STATUS_NOT_ENOUGH_DATA) fail(source, "WebP", "the file ends too early");
  if (status != VP8_STATUS_OK) fail(source, "WebP", "bad header");
  if (header.has_animation) throw Error("image", source.name, "one still picture", "an animation");
  Image image = allocate(source, header.width, header.height);
  if (!WebPDecodeRGBInto(source.data(), source.size(), image.rgb.data(), image.rgb.size(),
                         image.width * 3))
    fail(source, "WebP", "the picture data is damaged or ends too early");
  return image;
}

}  // namespace revenant::codec
