// Pictures that a request names by a URL: fetched from listed hosts, read below one folder. Without
// either, which is the default, nothing is.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "client/address.h"
#include "serve/ask.h"
#include "serve/media_url.h"

namespace revenant {

struct MediaLimits {
  using Seconds = HttpLimits::Seconds;
  size_t bytes = size_t(20) << 20;          // of a picture
  size_t request_bytes = size_t(32) << 20;  // of all pictures of a request
  Seconds resolve{3}, connect{5};           // connect: also TLS's greeting
  Seconds whole{10};    // from a request for a picture to the last byte of its answer
  Seconds request{30};  // for all pictures of a request
  int at_once = 6;      // fetched, of all requests; more get 503
};

struct MediaOptions {
  std::vector<std::string> domains = {};  // NAME or NAME:PORT (parse_media_domain)
  Path folder = {};                       // empty: no files
  MediaLimits limits = {};
  Resolve resolve = resolve_name;  // these two are others in tests alone
  bool (*may_connect)(const Address&) = is_public;
};

// A folder, and the files below it: openat2 keeps to it, through no link (Linux 5.6).
class MediaFolder {
 public:
  explicit MediaFolder(const Path& folder);  // throws Error
  ~MediaFolder();
  MediaFolder(const MediaFolder&) = delete;

  // Its part of a path as parse_media_url gives it; empty: it is elsewhere.
  std::string beneath(const std::string& path) const;
  // Of a regular file; nothing: there is none, it is not readable, empty or longer than `most`.
  std::optional<std::string> read(const std::string& beneath, size_t most) const;

 private:
  int open(const std::string& beneath, int flags) const;

  std::vector<std::string> names_;  // as it was given and as it is called without links, with a /
  int fd_ = -1;
};

// What all requests share.
class Media {
 public:
  explicit Media(MediaOptions options);  // throws Error

  // Where it lies, if it may be read; nothing is looked up for it. Throws Failure, 400.
  MediaUrl place_of(const PictureAsked& asked) const;
  void stop() { stopped_ = true; }  // whatever is being fetched ends
  const MediaLimits& limits() const { return options_.limits; }

 private:
  friend class MediaReader;
  bool allows(const Url& url) const;

  const MediaOptions options_;
  std::vector<Url> domains_;
  std::unique_ptr<const MediaFolder> folder_;
  std::atomic<bool> stopped_{false};
  std::atomic<int> fetching_{0};
};

// What one request reads, within the limits of a request and while its client is there.
class MediaReader {
 public:
  // `media` null: nothing may be read. `gone` null: nobody leaves.
  explicit MediaReader(Media* media = nullptr, std::shared_ptr<std::atomic<bool>> gone = nullptr);

  // As Media::place_of.
  MediaUrl place_of(const PictureAsked& asked) const;
  // The bytes that a URL stands for. Throws Failure: 400, which tells nothing of what was found
  // there; 503, if too much is being fetched or the server ends.
  std::string read(const PictureAsked& asked);

 private:
  using Clock = std::chrono::steady_clock;
  std::string fetch(const Url& url, const std::string& param);
  std::vector<Address> addresses_of(const Url& url, const std::string& param) const;
  bool goes_on() const;
  size_t room() const;
  MediaLimits::Seconds left(MediaLimits::Seconds most) const;

  Media* const media_;
  const std::shared_ptr<std::atomic<bool>> gone_;
  std::optional<Clock::time_point> until_ = {};  // since the first fetch
  size_t bytes_ = 0;
};

}  // namespace revenant
