// What the decoders share. Only room `image` includes this.
#pragma once

#include "image/image.h"

namespace revenant::codec {

struct Source {
  std::span<const std::byte> bytes;
  const std::string& name;
  DecodeLimits limits;

  const uint8_t* data() const { return reinterpret_cast<const uint8_t*>(bytes.data()); }
  size_t size() const { return bytes.size(); }
};

// Throws unless the header's size is within the limits; returns the picture to decode into.
Image allocate(const Source& source, int64_t width, int64_t height);
[[noreturn]] void fail(const Source& source, const std::string& format, const std::string& why);

Image decode_jpeg(const Source& source);
Image decode_png(const Source& source);
Image decode_webp(const Source& source);

}  // namespace revenant::codec
