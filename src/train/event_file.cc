#include "train/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/protobuf.h"

namespace revenant {
namespace {

using protobuf::bytes, protobuf::little_endian, protobuf::number, protobuf::real;

std::string event(int step, const std::string& content) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  return real(1, now.count()) + number(2, uint64_t(step)) + content;
}

}  // namespace

uint32_t masked_crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> made{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; ++bit) c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
      made[i] = c;
    }
    return made;
  }();
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = crc >> 8 ^ table[(crc ^ uint8_t(c)) & 255];
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

EventFile::EventFile(const Path& directory, int step) {
  std::filesystem::create_directories(directory);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
  char name[64];  // TensorBoard reads files in the order of their names
  std::snprintf(name, sizeof name, "events.out.tfevents.%lld.%09lld.%d",
                (long long)(nanoseconds / 1'000'000'000), (long long)(nanoseconds % 1'000'000'000),
                int(::getpid()));
  file_ = directory / name;
  fd_ = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0)
    throw Error("train", file_.string(), std::string("cannot open: ") + std::strerror(errno));
  record(event(0, bytes(3, "brain.Event:2")));
  constexpr int session_start = 1;
  record(event(step + 1, bytes(7, number(1, session_start))));
  flush();
}

EventFile::~EventFile() { ::close(fd_); }

void EventFile::add(std::string_view tag, int step, double value) {
  record(event(step, bytes(5, bytes(1, bytes(1, tag) + real(2, float(value))))));
}

void EventFile::record(const std::string& event) {
  const std::string length = little_endian(uint64_t(event.size()));
  pending_ +=
      length + little_endian(masked_crc32c(length)) + event + little_endian(masked_crc32c(event));
}

void EventFile::flush() {
  for (size_t done = 0; done < pending_.size();) {
    const ssize_t n = ::write(fd_, pending_.data() + done, pending_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      throw Error("train", file_.string(), std::string("cannot write: ") + std::strerror(errno));
    done += size_t(n);
  }
  pending_.clear();
}

}  // namespace revenant
