#include "io/zip.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/place.h"

// Source of layouts: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central
// directory), 4.3.16 (its end).
namespace revenant {
namespace {

using Bytes = std::span<const std::byte>;

constexpr uint32_t local_mark = 0x04034b50, central_mark = 0x02014b50, end_mark = 0x06054b50;
constexpr size_t local_size = 30, central_size = 46, end_size = 22, max_comment = 65535;
constexpr uint16_t encrypted = 1, stored = 0;

// Little-endian field; the caller has checked the range.
template <class T>
T field(Bytes bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

std::string text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

constexpr auto crc_table = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) ? 0xedb88320u ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  return table;
}();

uint32_t crc32(Bytes bytes) {
  uint32_t c = ~0u;
  for (const std::byte b : bytes) c = crc_table[(c ^ uint8_t(b)) & 255] ^ (c >> 8);
  return ~c;
}

template <class... T>
void append(std::string& text, T... values) {
  (text.append(reinterpret_cast<const char*>(&values), sizeof values), ...);
}

// What local headers and central lines share: version, flags, method, time and date (1980-01-01,
// so that equal content gives equal files), checksum, sizes, length of the name.
std::string common_fields(const std::string& name, const std::string& data) {
  const uint32_t size = uint32_t(data.size());
  std::string fields;
  append(fields, uint16_t(20), uint16_t(0), stored, uint16_t(0), uint16_t(0x21),
         crc32(std::as_bytes(std::span(data))), size, size, uint16_t(name.size()));
  return fields;
}

struct Archive {
  Bytes bytes;
  Place place;

  void require(bool condition, const std::string& message) const {
    if (!condition) place.fail(message);
  }
  size_t find_end() const;
  void check_local(const std::string& name, size_t offset, size_t limit) const;
};

size_t Archive::find_end() const {
  require(bytes.size() >= end_size, "too short for an archive");
  const size_t last = bytes.size() - end_size;
  for (size_t at = last + 1; at > 0 && at + max_comment > last; --at) {
    const bool whole = field<uint32_t>(bytes, at - 1) == end_mark &&
                       field<uint16_t>(bytes, at - 1 + 20) == last - (at - 1);
    if (whole) return at - 1;
  }
  place.fail("no end of the central directory (file truncated?)");
}

void Archive::check_local(const std::string& name, size_t offset, size_t limit) const {
  require(offset <= limit && limit - offset >= local_size, name + ": header outside the file");
  require(field<uint32_t>(bytes, offset) == local_mark, name + ": no local header");
  require(field<uint16_t>(bytes, offset + 8) == stored, name + ": local header says compressed");
  const size_t length = field<uint16_t>(bytes, offset + 26);
  require(limit - offset - local_size >= length &&
              text_of(bytes.subspan(offset + local_size, length)) == name,
          name + ": local header has another name");
}

struct Range {
  size_t begin, end;
  uint32_t checksum;
  std::string name;
};

// One line of the central directory; moves `at` past it.
Range read_line(const Archive& zip, size_t& at, size_t end, size_t data_end) {
  zip.require(end - at >= central_size && field<uint32_t>(zip.bytes, at) == central_mark,
              "central directory: broken line");
  const Bytes line = zip.bytes.subspan(at, end - at);
  const size_t name_length = field<uint16_t>(line, 28);
  const size_t length =
      central_size + name_length + field<uint16_t>(line, 30) + field<uint16_t>(line, 32);
  zip.require(length <= line.size(), "central directory: line beyond its end");
  const std::string name = text_of(line.subspan(central_size, name_length));
  zip.require((field<uint16_t>(line, 8) & encrypted) == 0, name + ": encrypted");
  zip.require(field<uint16_t>(line, 10) == stored, name + ": compressed");
  const uint32_t size = field<uint32_t>(line, 24), offset = field<uint32_t>(line, 42);
  zip.require(size != UINT32_MAX && offset != UINT32_MAX, name + ": beyond 4 GB");
  zip.require(size == field<uint32_t>(line, 20), name + ": two sizes for stored data");
  zip.check_local(name, offset, data_end);
  const size_t begin = offset + local_size + field<uint16_t>(zip.bytes, offset + 26) +
                       field<uint16_t>(zip.bytes, offset + 28);
  zip.require(begin <= data_end && size <= data_end - begin, name + ": data outside the file");
  at += length;
  return {offset, begin + size, field<uint32_t>(line, 16), name};
}

void check_disjoint(const Archive& zip, std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < ranges.size(); ++i) {
    zip.require(ranges[i - 1].end <= ranges[i].begin, ranges[i].name + ": overlaps another entry");
  }
}

}  // namespace

bool is_zip(Bytes bytes) { return bytes.size() >= 4 && field<uint32_t>(bytes, 0) == local_mark; }

ZipEntries read_zip(Bytes bytes, const std::string& subject) {
  const Archive zip{bytes, {"zip", subject}};
  const size_t end = zip.find_end();
  const size_t count = field<uint16_t>(bytes, end + 10), size = field<uint32_t>(bytes, end + 12);
  const size_t first = field<uint32_t>(bytes, end + 16);
  zip.require(field<uint32_t>(bytes, end + 4) == 0 && field<uint16_t>(bytes, end + 8) == count,
              "an archive in several parts");
  zip.require(first <= end && size <= end - first, "central directory outside the file");
  ZipEntries entries;
  std::vector<Range> ranges;
  size_t at = first;
  for (size_t i = 0; i < count; ++i) {
    ranges.push_back(read_line(zip, at, first + size, first));
    const Range& range = ranges.back();
    const size_t header = local_size + field<uint16_t>(bytes, range.begin + 26) +
                          field<uint16_t>(bytes, range.begin + 28);
    const Bytes data = bytes.subspan(range.begin + header, range.end - range.begin - header);
    zip.require(entries.emplace(range.name, data).second, range.name + ": twice");
  }
  zip.require(at == first + size, "central directory: bytes after its last line");
  check_disjoint(zip, ranges);  // before the checksums, which so take time linear in the file
  for (const Range& range : ranges)
    zip.require(crc32(entries.at(range.name)) == range.checksum, range.name + ": checksum differs");
  return entries;
}

std::string write_zip(std::span<const std::pair<std::string, std::string>> entries,
                      const std::string& subject) {
  constexpr size_t alignment = 64;
  std::string body, directory;
  for (const auto& [name, data] : entries) {
    if (body.size() + directory.size() + data.size() > UINT32_MAX / 2 || entries.size() > 0xffff)
      throw Error("zip", subject, "at most 2 GB and 65535 entries", "more");
    const std::string common = common_fields(name, data);
    const size_t offset = body.size(), begin = offset + local_size + name.size() + 4;
    const uint16_t padding = uint16_t((alignment - begin % alignment) % alignment);
    append(body, local_mark);
    body += common;
    append(body, uint16_t(4 + padding));
    body += name + "FB";  // torch's tag of an extra field that only pads
    append(body, padding);
    body += std::string(padding, 'Z') + data;
    append(directory, central_mark, uint16_t(20));
    directory += common;
    append(directory, uint16_t(0), uint16_t(0), uint16_t(0), uint16_t(0), uint32_t(0),
           uint32_t(offset));
    directory += name;
  }
  const uint32_t size = uint32_t(directory.size()), at = uint32_t(body.size());
  const uint16_t count = uint16_t(entries.size());
  append(directory, end_mark, uint16_t(0), uint16_t(0), count, count, size, at, uint16_t(0));
  return body + directory;
}

}  // namespace revenant
