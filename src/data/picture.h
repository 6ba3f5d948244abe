// A picture of a row: a file of its own, or bytes inside the file of rows (Parquet, base64 in
// JSON), which are read again whenever they are wanted and never kept.
#pragma once

#include <compare>
#include <optional>

#include "image/image.h"

namespace revenant {

struct Picture {
  // Parquet: the row, counted from 0. JSON: the bytes of the row's text. And the JSON pointer from
  // the row to the picture.
  struct Inside {
    uint64_t at = 0, size = 0;
    std::string pointer;
    auto operator<=>(const Inside&) const = default;
  };
  Path file;
  std::optional<Inside> inside = {};

  Picture(Path file, std::optional<Inside> inside = {})
      : file(std::move(file)), inside(std::move(inside)) {}
  auto operator<=>(const Picture&) const = default;
  std::string name() const;  // for messages
};

// Its file's bytes, whatever they are. These are safe from many threads, and throw Error.
std::string bytes_of(const Picture& picture);
// data:image/...;base64,... of what has the head of a JPEG, PNG or WebP.
std::string data_uri_of(const Picture& picture);
Image read_picture(const Picture& picture, const ReadOptions& options = {});

}  // namespace revenant
