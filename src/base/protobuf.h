// Fields of a protocol buffer, written.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace revenant::protobuf {

inline std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += char(value | 0x80);
  return bytes + char(value);
}

template <class Bits>
std::string little_endian(Bits bits) {
  std::string bytes;
  for (size_t i = 0; i < sizeof bits; ++i) bytes += char(bits >> 8 * i);
  return bytes;
}

inline std::string number(int field, uint64_t value) {
  return varint(uint64_t(field) << 3) + varint(value);
}
// A string, bytes or a message.
inline std::string bytes(int field, std::string_view value) {
  return varint(uint64_t(field) << 3 | 2) + varint(value.size()) + std::string(value);
}
inline std::string real(int field, float value) {
  return varint(uint64_t(field) << 3 | 5) + little_endian(std::bit_cast<uint32_t>(value));
}
inline std::string real(int field, double value) {
  return varint(uint64_t(field) << 3 | 1) + little_endian(std::bit_cast<uint64_t>(value));
}

}  // namespace revenant::protobuf
