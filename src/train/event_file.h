// Scalars as TensorBoard reads them: a file of length-prefixed protocol buffers (Event, Summary),
// each with masked CRC-32C sums (TensorFlow's record_writer and event.proto).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/file.h"

namespace revenant {

// CRC-32C (Castagnoli, reflected), masked as TensorFlow does.
uint32_t masked_crc32c(std::string_view bytes);

class EventFile {
 public:
  // A new file in the directory. What earlier files say of steps after `step` is void: TensorBoard
  // drops it.
  EventFile(const Path& directory, int step);
  ~EventFile();
  EventFile(const EventFile&) = delete;

  void add(std::string_view tag, int step, double value);
  void flush();  // throws Error

 private:
  void record(const std::string& event);
  Path file_;
  int fd_;
  std::string pending_;
};

}  // namespace revenant
