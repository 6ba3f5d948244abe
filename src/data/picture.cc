#include "data/picture.h"

#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/error.h"
#include "base/json.h"
#include "data/parquet.h"
#include "data/row_form.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

std::string bytes_inside(const Picture& picture) {
  const Picture::Inside& inside = *picture.inside;
  const Json::json_pointer pointer(inside.pointer);
  if (inside.size == 0) {
    Json::json_pointer field = pointer;
    while (!field.parent_pointer().empty()) field.pop_back();
    return picture_bytes(parquet_field(picture.file, inside.at, field.back()).at(pointer));
  }
  const MappedFile file(picture.file);
  if (inside.at > file.bytes().size() || inside.size > file.bytes().size() - inside.at)
    throw Error("data", picture.name(), "the row that was read before", "a shorter file");
  const Place place{"data", picture.name()};
  return picture_bytes(parse_json(file.text().substr(inside.at, inside.size), place).at(pointer));
}

}  // namespace

std::string Picture::name() const {
  if (!inside) return file.string();
  return file.string() + ": " + (inside->size == 0 ? "row " : "byte ") +
         std::to_string(inside->at + (inside->size == 0)) + inside->pointer;
}

std::string bytes_of(const Picture& picture) {
  if (!picture.inside) return read_file(picture.file);
  try {
    return bytes_inside(picture);
  } catch (const Fault& fault) {
    throw Error("data", picture.name(), fault.expected, fault.found);
  } catch (const Json::exception&) {
    throw Error("data", picture.name(), "the row that was read before", "another");
  }
}

std::string data_uri_of(const Picture& picture) {
  const std::string bytes = bytes_of(picture);
  check_image_head(std::as_bytes(std::span(bytes)), picture.name(), {.max_pixels = most_pixels});
  const char* type = bytes.starts_with("\xFF\xD8") ? "jpeg" : bytes[0] == 'R' ? "webp" : "png";
  return std::string("data:image/") + type + ";base64," + base64(bytes);
}

Image read_picture(const Picture& picture, const ReadOptions& options) {
  if (!picture.inside) return read_image(picture.file, options);
  const std::string bytes = bytes_of(picture);
  return decode_image(std::as_bytes(std::span(bytes)), picture.name(), options);
}

}  // namespace revenant
