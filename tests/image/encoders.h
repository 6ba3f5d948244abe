// Makes the files that the tests of room `image` read.
#pragma once

#include <webp/encode.h>

#include <cstdio>
// jpeglib.h needs stdio's types first.
#include <jpeglib.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "image/image.h"

namespace revenant {

using namespace std::string_literals;

inline Image noise(int width, int height, uint64_t seed = 1) {
  Random random(seed);
  Image image = blank_image(width, height);
  for (auto& level : image.rgb) level = uint8_t(random.below(256));
  return image;
}

inline Image decode(const std::string& bytes, const ReadOptions& options = {}) {
  return decode_image(std::as_bytes(std::span(bytes)), "it", options);
}

inline std::string refusal(const std::string& bytes, const ReadOptions& options = {}) {
  try {
    decode(bytes, options);
    return "accepted";
  } catch (const Error& error) {
    return error.what();
  }
}

// What is said of a file that ends before its last pixel.
inline std::string short_of(const std::string& format) {
  return "[image] it: expected a whole " + format + " file, found one that ends too early";
}

inline std::string webp_of(uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<char*>(data), size);
  WebPFree(data);
  return bytes;
}

// One scan for the DC terms, then two for every AC term of every component: legal, and slow to
// read.
inline std::vector<jpeg_scan_info> many_scans() {
  std::vector<jpeg_scan_info> scans{{3, {0, 1, 2, 0}, 0, 0, 0, 0}};
  for (int high : {0, 1})
    for (int component = 0; component < 3; ++component)
      for (int term = 1; term < 64; ++term)
        scans.push_back({1, {component, 0, 0, 0}, term, term, high, 1 - high});
  return scans;
}

inline std::string jpeg_of(const std::vector<uint8_t>& samples, int width, int height, int parts,
                           const std::vector<jpeg_scan_info>& scans = {}) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* data = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &data, &size);
  info.image_width = JDIMENSION(width);
  info.image_height = JDIMENSION(height);
  info.input_components = parts;
  info.in_color_space = parts == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 100, TRUE);
  info.scan_info = scans.empty() ? nullptr : scans.data();
  info.num_scans = int(scans.size());
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    JSAMPROW row =
        const_cast<JSAMPROW>(samples.data()) + info.next_scanline * JDIMENSION(width * parts);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  std::string bytes(reinterpret_cast<char*>(data), size);
  jpeg_destroy_compress(&info);
  std::free(data);
  return bytes;
}

inline std::string big_endian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += char(value >> shift);
  return bytes;
}

inline std::string png_chunk(const std::string& type, const std::string& data) {
  uint32_t crc = ~0u;
  for (const char c : type + data) {
    crc ^= uint8_t(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return big_endian(uint32_t(data.size())) + type + data + big_endian(~crc);
}

// The start of a PNG of the given size; nothing follows the header.
inline std::string png_header(uint32_t width, uint32_t height) {
  return "\x89PNG\r\n\x1a\n"s +
         png_chunk("IHDR", big_endian(width) + big_endian(height) + "\x08\x02\0\0\0"s);
}

}  // namespace revenant
