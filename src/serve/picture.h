// Pictures of requests: from data: URIs to tiles, and what they are known by.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/disk_cache.h"
#include "engine/model.h"
#include "serve/media.h"

namespace revenant {

struct PictureLimits {
  int64_t pixels = 40'000'000;
  int side = 16'384;
};

struct TiledPicture {
  std::string key;  // picture_key
  std::vector<Image> tiles;
  int width = 0, height = 0;

  size_t bytes() const;
};

using TiledPictures = std::vector<std::shared_ptr<const TiledPicture>>;

// Throw Failure: 400, or as MediaReader::read, which reads what is no data: URI. What a decoder
// says of a picture stays here.
Image decoded_picture(const PictureAsked& asked, const PictureLimits& limits, MediaReader& media);
// In the order of `asked`. What stands in the request is looked at first, so that nothing is read
// elsewhere for one that is refused.
TiledPictures tiled_pictures(const Model& model, const std::vector<PictureAsked>& asked,
                             const PictureLimits& limits, const std::string& salt,
                             MediaReader& media);
// Only whether each is a data: URI, or may be read where it lies.
void check_places(const std::vector<PictureAsked>& asked, const MediaReader& media);

// What is shown instead of a picture of this size (engine/grounding.h); of all senders.
TiledPicture grey_tiles(const Model& model, int width, int height);

// SHA-256 of the decoded pixels, their shape, how they become tiles, the model and the salt.
std::string picture_key(const Image& image, const TileRule& rule, const std::string& model,
                        const std::string& salt);

// Features of pictures within a budget of bytes; the least recently used go first. Tensors share
// their numbers, so what goes here stands for those who use it. What goes is found again on disk,
// if there is a cache, under `numbers` (engine/prefix.h). Of one thread.
class PictureCache {
 public:
  explicit PictureCache(size_t budget, DiskCache* disk = nullptr, std::string numbers = {})
      : budget_(budget), disk_(disk), numbers_(std::move(numbers)) {}

  std::optional<Tensor> find(const std::string& key);
  void put(const std::string& key, const Tensor& features);
  size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string key;
    Tensor features;
  };
  std::string name_of(const std::string& key) const;
  std::optional<Tensor> find_on_disk(const std::string& key);
  void enter(const std::string& key, const Tensor& features);

  const size_t budget_;
  DiskCache* const disk_;
  const std::string numbers_;
  size_t bytes_ = 0;
  std::list<Entry> entries_;  // the last used first
  std::map<std::string, std::list<Entry>::iterator> by_key_;
};

}  // namespace revenant
