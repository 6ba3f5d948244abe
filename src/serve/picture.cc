#include "serve/picture.h"

#include <algorithm>
#include <cstring>

#include "base/ascii.h"
#include "base/base64.h"
#include "base/sha256.h"
#include "engine/grounding.h"

namespace revenant {
namespace {

// Raise it when the way from pixels to tiles or features changes (image/tiles.h, image/resize.h).
constexpr const char* preprocessing = "tiles-1";

bool is_data(const PictureAsked& asked) { return lower_ascii(asked.uri.substr(0, 5)) == "data:"; }

std::string bytes_of_data(const PictureAsked& asked) {
  const std::string_view uri = asked.uri;
  const size_t comma = uri.find(',');
  const std::string head = lower_ascii(uri.substr(0, std::min(comma, size_t(200))));
  if (comma == uri.npos || !head.starts_with("data:image/") || !head.ends_with(";base64"))
    throw invalid(asked.param, "expected data:image/...;base64,...", "invalid_image");
  std::optional<std::string> bytes = bytes_of_base64(uri.substr(comma + 1));
  if (!bytes) throw invalid(asked.param, "what follows the comma is no base64", "invalid_image");
  return std::move(*bytes);
}

TiledPicture tiled(const Model& model, const Image& image, const std::string& salt) {
  const TileRule rule = model.tile_rule();
  return {picture_key(image, rule, model.files().path().string(), salt), tile(image, rule).tiles,
          image.width, image.height};
}

}  // namespace

Image decoded_picture(const PictureAsked& asked, const PictureLimits& limits, MediaReader& media) {
  const std::string bytes = is_data(asked) ? bytes_of_data(asked) : media.read(asked);
  const ReadOptions options{.max_pixels = limits.pixels, .exif = Exif::apply};
  try {
    check_image_head(std::as_bytes(std::span(bytes)), asked.param, options);
    Image image = decode_image(std::as_bytes(std::span(bytes)), asked.param, options);
    if (std::max(image.width, image.height) <= limits.side) return image;
  } catch (const Error&) {
  }
  throw invalid(asked.param,
                "expected a whole JPEG, PNG or WebP picture of at most " +
                    std::to_string(limits.pixels) + " pixels, " + std::to_string(limits.side) +
                    " a side",
                "invalid_image");
}

size_t TiledPicture::bytes() const {
  size_t sum = 0;
  for (const Image& tile : tiles) sum += tile.rgb.size();
  return sum;
}

std::string picture_key(const Image& image, const TileRule& rule, const std::string& model,
                        const std::string& salt) {
  const nlohmann::json about = {preprocessing,  image.width,    image.height, 3,     rule.size,
                                rule.max_tiles, rule.thumbnail, rule.whole,   model, salt};
  Sha256 digest;
  digest.add(about.dump()).add(std::as_bytes(std::span(image.rgb)));
  return digest.digits();
}

void check_places(const std::vector<PictureAsked>& asked, const MediaReader& media) {
  for (const PictureAsked& one : asked)
    if (!is_data(one)) media.place_of(one);
}

TiledPictures tiled_pictures(const Model& model, const std::vector<PictureAsked>& asked,
                             const PictureLimits& limits, const std::string& salt,
                             MediaReader& media) {
  if (!asked.empty() && model.config().vision.kind == Tower::none)
    throw invalid(asked[0].param, "this model is a language model alone: it sees no pictures",
                  "unsupported_value");
  check_places(asked, media);
  TiledPictures pictures(asked.size());
  for (const bool data : {true, false})
    for (size_t i = 0; i < asked.size(); ++i)
      if (is_data(asked[i]) == data)
        pictures[i] = std::make_shared<TiledPicture>(
            tiled(model, decoded_picture(asked[i], limits, media), salt));
  return pictures;
}

TiledPicture grey_tiles(const Model& model, int width, int height) {
  return tiled(model, grey_picture(width, height), "");
}

std::optional<Tensor> PictureCache::find(const std::string& key) {
  const auto at = by_key_.find(key);
  if (at == by_key_.end()) return find_on_disk(key);
  entries_.splice(entries_.begin(), entries_, at->second);
  return entries_.front().features;
}

std::string PictureCache::name_of(const std::string& key) const {
  return sha256_of("picture " + numbers_ + " " + key);
}

// How wide a row is, then the rows.
std::optional<Tensor> PictureCache::find_on_disk(const std::string& key) {
  const std::optional<std::string> bytes = disk_ ? disk_->find(name_of(key)) : std::nullopt;
  uint32_t width = 0;
  if (!bytes || bytes->size() <= sizeof width) return {};
  std::memcpy(&width, bytes->data(), sizeof width);
  const size_t numbers = (bytes->size() - sizeof width) / sizeof(float);
  if (width == 0 || numbers % width != 0) return {};
  Tensor features(int(numbers / width), 1, int(width));
  std::memcpy(features.data(), bytes->data() + sizeof width, numbers * sizeof(float));
  enter(key, features);
  return features;
}

void PictureCache::put(const std::string& key, const Tensor& features) {
  if (disk_) {
    const uint32_t width = uint32_t(features.width);
    std::string bytes(reinterpret_cast<const char*>(&width), sizeof width);
    bytes.append(reinterpret_cast<const char*>(features.data()), features.size() * sizeof(float));
    disk_->put(name_of(key), std::move(bytes));
  }
  enter(key, features);
}

void PictureCache::enter(const std::string& key, const Tensor& features) {
  if (by_key_.contains(key)) return;
  entries_.push_front({key, features});
  by_key_[key] = entries_.begin();
  bytes_ += features.size() * sizeof(float);
  while (bytes_ > budget_ && !entries_.empty()) {
    bytes_ -= entries_.back().features.size() * sizeof(float);
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
}

}  // namespace revenant
