#include "serve/media.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace revenant {
namespace {

using Seconds = MediaLimits::Seconds;

Failure unavailable(const std::string& param, const std::string& why) {
  return invalid(param, why, "image_unavailable");
}

int open_beneath(int folder, const char* path, int flags) {
  open_how how{};
  how.flags = uint64_t(flags | O_CLOEXEC | O_NOFOLLOW);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return int(::syscall(SYS_openat2, folder, path, &how, sizeof how));
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// One more of `count`, as long as it lives.
struct Counted {
  explicit Counted(std::atomic<int>& which) : count(which), number(++which) {}
  ~Counted() { --count; }
  std::atomic<int>& count;
  const int number;
};

}  // namespace

MediaFolder::MediaFolder(const Path& folder) {
  const auto refuse = [&](const std::string& expected, const std::string& found) {
    return Error("serve", folder.string(), expected, found);
  };
  std::error_code error;
  const Path real = std::filesystem::canonical(folder, error);
  if (error || !std::filesystem::is_directory(real, error))
    throw refuse("a folder of pictures", error ? error.message() : "something else");
  if (real == "/") throw refuse("a folder of pictures", "all of this machine");
  fd_ = ::open(real.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  const Descriptor probe{fd_ < 0 ? -1 : open_beneath(fd_, ".", O_PATH)};
  const int reason = errno;
  if (probe.fd < 0) {
    if (fd_ >= 0) ::close(fd_);
    const bool lacks = reason == ENOSYS || reason == EPERM;
    throw lacks ? refuse("a kernel with openat2 (Linux 5.6), which keeps to a folder", "none")
                : refuse("a folder that can be opened", std::strerror(reason));
  }
  Path given = std::filesystem::absolute(folder).lexically_normal();
  if (!given.has_filename()) given = given.parent_path();
  names_ = {real.string() + "/", given.string() + "/"};
}

MediaFolder::~MediaFolder() { ::close(fd_); }

std::string MediaFolder::beneath(const std::string& path) const {
  if (!path.starts_with('/')) return path;
  for (const std::string& name : names_)
    if (path.starts_with(name)) return path.substr(name.size());
  return "";
}

int MediaFolder::open(const std::string& beneath, int flags) const {
  return open_beneath(fd_, beneath.c_str(), flags);
}

// What it is, is asked before it is opened: to open a device or a pipe does something.
std::optional<std::string> MediaFolder::read(const std::string& beneath, size_t most) const {
  const Descriptor place{open(beneath, O_PATH)};
  using Stat = struct stat;
  Stat about{}, opened{};
  if (place.fd < 0 || ::fstat(place.fd, &about) != 0 || !S_ISREG(about.st_mode)) return {};
  if (about.st_size <= 0 || size_t(about.st_size) > most) return {};
  const Descriptor file{open(beneath, O_RDONLY | O_NONBLOCK | O_NOCTTY)};
  if (file.fd < 0 || ::fstat(file.fd, &opened) != 0) return {};
  if (opened.st_dev != about.st_dev || opened.st_ino != about.st_ino) return {};
  std::string bytes(size_t(about.st_size), '\0');
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::read(file.fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return {};
    done += size_t(n);
  }
  return bytes;
}

Media::Media(MediaOptions options) : options_(std::move(options)) {
  for (const std::string& text : options_.domains) {
    try {
      domains_.push_back(parse_media_domain(text));
    } catch (const Error&) {
      throw Error("serve", "media domain", "NAME or NAME:PORT, of ASCII, no address", text);
    }
  }
  if (!options_.folder.empty()) folder_ = std::make_unique<const MediaFolder>(options_.folder);
}

bool Media::allows(const Url& url) const {
  return std::ranges::any_of(
      domains_, [&](const Url& one) { return one.host == url.host && one.port == url.port; });
}

MediaUrl Media::place_of(const PictureAsked& asked) const {
  const auto refuse = [&](const std::string& why) {
    return invalid(asked.param, why, "unsupported_url");
  };
  MediaUrl place;
  try {
    place = parse_media_url(asked.uri);
  } catch (const Error&) {
    throw refuse("expected a data: URI, https://NAME/... or file:///PATH");
  }
  if (!place.file && !allows(place.url)) throw refuse("pictures of this host are not fetched here");
  if (!place.file) return place;
  if (folder_) place.path = folder_->beneath(place.path);
  if (!folder_ || place.path.empty()) throw refuse("this file is not in the folder of pictures");
  return place;
}

MediaReader::MediaReader(Media* media, std::shared_ptr<std::atomic<bool>> gone)
    : media_(media), gone_(std::move(gone)) {}

MediaUrl MediaReader::place_of(const PictureAsked& asked) const {
  if (media_) return media_->place_of(asked);
  throw invalid(asked.param, "expected a data: URI (this server fetches nothing)",
                "unsupported_url");
}

size_t MediaReader::room() const {
  const MediaLimits& limits = media_->limits();
  return std::min(limits.bytes, limits.request_bytes - bytes_);
}

Seconds MediaReader::left(Seconds most) const {
  return std::clamp(Seconds(*until_ - Clock::now()), Seconds(0), most);
}

bool MediaReader::goes_on() const {
  return !media_->stopped_ && !(gone_ && *gone_) && Clock::now() < *until_;
}

std::string MediaReader::read(const PictureAsked& asked) {
  const MediaUrl place = place_of(asked);
  if (!place.file) {
    std::string bytes = fetch(place.url, asked.param);
    bytes_ += bytes.size();
    return bytes;
  }
  std::optional<std::string> bytes = media_->folder_->read(place.path, room());
  if (!bytes)
    throw unavailable(asked.param, "expected a file of at most " + std::to_string(room()) +
                                       " bytes that can be read here, and no links to it");
  bytes_ += bytes->size();
  return std::move(*bytes);
}

// Asked once: what is connected to is what was looked at.
std::vector<Address> MediaReader::addresses_of(const Url& url, const std::string& param) const {
  const MediaOptions& options = media_->options_;
  std::vector<Address> found =
      options.resolve(url.host, left(options.limits.resolve), [this] { return goes_on(); });
  if (found.empty() || !std::ranges::all_of(found, options.may_connect))
    throw unavailable(param, "its host could not be reached");
  return found;
}

std::string MediaReader::fetch(const Url& url, const std::string& param) {
  const MediaLimits& limits = media_->limits();
  if (!until_) until_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(limits.request);
  const Counted counted(media_->fetching_);
  if (counted.number > limits.at_once) {
    Failure busy(503, "too many pictures are being fetched", "too_many_fetches", param);
    busy.retry_after = 1;
    throw busy;
  }
  try {
    const std::vector<Address> addresses = addresses_of(url, param);
    HttpClient client(
        url, {.connect = left(limits.connect), .whole = left(limits.whole), .body_bytes = room()},
        addresses);
    HttpAnswer answer = client.fetch([this] { return goes_on(); });
    if (answer.status != 200) throw unavailable(param, "its server has no picture under this URL");
    if (!answer.encoding.empty())
      throw unavailable(param, "its server sends it in an encoding that was not asked for");
    return std::move(answer.body);
  } catch (const Stopped&) {
    if (media_->stopped_) throw Failure(503, "the server is shutting down", "shutting_down");
    throw unavailable(param, "its server took too long");
  } catch (const NoAddress&) {
    throw unavailable(param, "its host could not be reached");
  } catch (const NoAnswer&) {
    throw unavailable(param, "no whole answer of at most " + std::to_string(room()) +
                                 " bytes came from its server in time");
  }
}

}  // namespace revenant
