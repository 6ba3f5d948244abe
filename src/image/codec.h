// What the decoders share. Only room `image` includes this.
#pragma once

#include <string_view>

#include "image/image.h"

namespace revenant::codec {

struct Source {
  std::span<const std::byte> bytes;
  const std::string& name;
  ReadOptions options;

  const uint8_t* data() const { return reinterpret_cast<const uint8_t*>(bytes.data()); }
  size_t size() const { return bytes.size(); }
  std::string_view text() const { return {reinterpret_cast<const char*>(data()), size()}; }
};

// Throws unless the header's size is within the bound: before anything of that size is allocated.
void check_size(const Source& source, int64_t width, int64_t height);
// `format` is JPEG, PNG or WebP; `found` what its decoder says.
[[noreturn]] void fail(const Source& source, const std::string& format, const std::string& found);
// The rule of all formats: a file that ends before its last pixel is refused.
[[noreturn]] void fail_short(const Source& source, const std::string& format);

// What the head of a file promises; throws for one that no picture can follow. Nothing of the
// picture's size is allocated.
void check_head_of_jpeg(const Source& source);
void check_head_of_png(const Source& source);
void check_head_of_webp(const Source& source);

Image decode_jpeg(const Source& source);
Image decode_png(const Source& source);
Image decode_webp(const Source& source);

// The TIFF structure with the EXIF tags, as far as the file has it; else empty. Never throw.
std::string_view exif_of_jpeg(std::string_view file);
std::string_view exif_of_png(std::string_view file);
std::string_view exif_of_webp(std::string_view file);

}  // namespace revenant::codec
