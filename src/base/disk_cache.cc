#include "base/disk_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/sha256.h"

namespace revenant {

namespace fs = std::filesystem;

namespace {

// A file: this line, SHA-256 of name and bytes as 64 digits, a line break, the bytes.
constexpr std::string_view magic = "revenant cache 1\n";
constexpr size_t digits = 64, head_bytes = magic.size() + digits + 1;

std::string checksum(const std::string& name, std::string_view bytes) {
  return Sha256().add(name).add(bytes).digits();
}

bool is_name(std::string_view text) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == text.npos;
}

}  // namespace

DiskCache::DiskCache(DiskCacheOptions options) : options_(std::move(options)) {
  std::error_code error;
  const bool made = fs::create_directories(options_.directory, error);
  if (error || !fs::is_directory(options_.directory, error))
    throw Error("cache", options_.directory.string(), "a directory to write into",
                error ? error.message() : "none");
  if (made) fs::permissions(options_.directory, fs::perms::owner_all, error);
  if (::access(options_.directory.c_str(), R_OK | W_OK | X_OK) != 0)
    throw Error("cache", options_.directory.string(), "a directory to write into",
                "one that may not be written");
  read_directory();
  writer_ = std::thread([this] { write_what_waits(); });
}

DiskCache::~DiskCache() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  writer_.join();
}

// Other files are left alone. A file's time is that of its last use.
void DiskCache::read_directory() {
  struct Found {
    fs::file_time_type used;
    Entry entry;
  };
  std::vector<Found> found;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(options_.directory, error)) {
    const std::string name = file.path().stem().string();
    if (file.path().extension() != ".cache" || !is_name(name) || !file.is_regular_file(error))
      continue;
    const auto used = file.last_write_time(error);
    const size_t bytes = size_t(file.file_size(error));
    if (!error) found.push_back({used, {name, bytes}});
  }
  std::ranges::sort(found, {}, &Found::used);
  for (const Found& one : found) enter(one.entry.name, one.entry.bytes);
}

bool DiskCache::has(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return by_name_.contains(name);
}

size_t DiskCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

std::optional<std::string> DiskCache::find(const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    const auto at = by_name_.find(name);
    if (at == by_name_.end()) return {};
    entries_.splice(entries_.begin(), entries_, at->second);
  }
  const Path file = file_of(name);
  std::string whole;
  try {
    whole = read_file(file);
  } catch (const Error&) {  // another program took it away
    forget(name);
    return {};
  }
  ::utimensat(AT_FDCWD, file.c_str(), nullptr, 0);
  const std::string_view text = whole;
  const bool sound = text.size() >= head_bytes && text.starts_with(magic) &&
                     text.substr(magic.size(), digits) == checksum(name, text.substr(head_bytes));
  if (sound) return whole.substr(head_bytes);
  if (options_.tell) options_.tell(file.string() + " is damaged: it is passed over");
  forget(name);
  std::error_code ignored;
  fs::remove(file, ignored);
  return {};
}

void DiskCache::put(const std::string& name, std::string bytes) {
  CHECK(is_name(name));
  const std::lock_guard lock(mutex_);
  if (by_name_.contains(name) || ended_ || waiting_bytes_ + bytes.size() > options_.waiting_bytes ||
      std::ranges::any_of(waiting_, [&](const auto& one) { return one.first == name; }))
    return;
  waiting_bytes_ += bytes.size();
  waiting_.emplace_back(name, std::move(bytes));
  changed_.notify_all();
}

void DiskCache::flush() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_.empty(); });
}

void DiskCache::write_what_waits() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !waiting_.empty() || ended_; });
    if (waiting_.empty()) return;
    const auto& [name, bytes] = waiting_.front();  // others only add behind it
    lock.unlock();
    write(name, bytes);
    lock.lock();
    waiting_bytes_ -= bytes.size();
    waiting_.pop_front();
    changed_.notify_all();
  }
}

void DiskCache::write(const std::string& name, const std::string& bytes) {
  try {
    AtomicFile file(file_of(name), 0600);
    file.write(magic);
    file.write(checksum(name, bytes) + "\n");
    file.write(bytes);
    file.commit();
  } catch (const Error& error) {  // a full disk, say: what is not kept is computed again
    if (options_.tell) options_.tell(error.what());
    return;
  }
  const std::lock_guard lock(mutex_);
  enter(name, head_bytes + bytes.size());
}

// As the last used one; what exceeds the budget goes.
void DiskCache::enter(const std::string& name, size_t bytes) {
  entries_.push_front({name, bytes});
  by_name_[name] = entries_.begin();
  bytes_ += bytes;
  while (bytes_ > options_.bytes) {
    const Entry last = entries_.back();
    std::error_code ignored;
    fs::remove(file_of(last.name), ignored);
    bytes_ -= last.bytes;
    by_name_.erase(last.name);
    entries_.pop_back();
  }
}

void DiskCache::forget(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto at = by_name_.find(name);
  if (at == by_name_.end()) return;
  bytes_ -= at->second->bytes;
  entries_.erase(at->second);
  by_name_.erase(at);
}

}  // namespace revenant
