#include "base/file.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/temporary_files.h"

namespace revenant {
namespace {

[[noreturn]] void fail(const Path& path, const std::string& what) {
  throw Error("file", path.string(), what + ": " + std::strerror(errno));
}

int open_regular(const Path& path, size_t& size) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe would wait
  if (fd < 0) fail(path, "cannot open");
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    throw Error("file", path.string(), "a regular file", "something else");
  }
  size = size_t(info.st_size);
  return fd;
}

}  // namespace

Path expand_home(const Path& path) {
  const std::string& text = path.native();
  if (!text.starts_with('~')) return path;
  const size_t end = std::min(text.find('/'), text.size());
  const std::string user = text.substr(1, end - 1);
  const char* set = user.empty() ? std::getenv("HOME") : nullptr;
  std::string home = set ? set : "";
  if (home.empty()) {
    const struct passwd* entry = user.empty() ? ::getpwuid(::getuid()) : ::getpwnam(user.c_str());
    if (!entry && !user.empty()) return path;  // a name that begins with ~, as shells take it
    home = entry ? entry->pw_dir : "";
  }
  if (home.empty()) throw Error("file", text, "HOME, which is not set");
  return home + text.substr(end);
}

MappedFile::MappedFile(const Path& path) {
  const int fd = open_regular(path, size_);
  if (size_ > 0) {
    void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    ::close(fd);
    if (data == MAP_FAILED) fail(path, "cannot map");
    data_ = static_cast<const std::byte*>(data);
  } else {
    ::close(fd);
  }
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void forget_pages(const void* data, size_t size) {
  const auto page = uintptr_t(::sysconf(_SC_PAGESIZE)), at = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (at + page - 1) / page * page, end = (at + size) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::string read_file(const Path& path) {
  size_t size = 0;
  const int fd = open_regular(path, size);
  std::string content(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t n = ::read(fd, content.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      ::close(fd);
      fail(path, "cannot read");
    }
    done += size_t(n);
  }
  ::close(fd);
  return content;
}

// A pipe or a device is written as it stands, without a temporary file: a rename would put a plain
// file in its place.
AtomicFile::AtomicFile(const Path& path, unsigned mode) : path_(path) {
  struct stat info {};
  const bool replaces = ::stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode);
  if (replaces) {
    temporary_ = path.string() + ".tmp." + std::to_string(::getpid());
    temporary_files::add(temporary_);
  }
  const Path& opened = replaces ? temporary_ : path_;
  fd_ = ::open(opened.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (fd_ >= 0) return;
  temporary_files::forget(temporary_);
  fail(opened, replaces ? "cannot create" : "cannot open");
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (temporary_.empty()) return;
  ::unlink(temporary_.c_str());
  temporary_files::forget(temporary_);
}

void AtomicFile::write(const void* data, size_t size) {
  const char* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::write(fd_, bytes, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(temporary_.empty() ? path_ : temporary_, "cannot write");
    bytes += n;
    size -= size_t(n);
  }
}

void AtomicFile::commit() {
  if (temporary_.empty()) {
    if (::close(std::exchange(fd_, -1)) != 0) fail(path_, "cannot write");
    return;
  }
  if (::fsync(fd_) != 0) fail(temporary_, "cannot flush");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, "cannot rename into place");
  temporary_files::forget(temporary_);
  ::close(std::exchange(fd_, -1));
  sync_directory(path_.parent_path());
}

void write_file(const Path& path, std::string_view content, unsigned mode) {
  AtomicFile file(path, mode);
  file.write(content);
  file.commit();
}

void sync_directory(const Path& directory) {
  const Path place = directory.empty() ? Path(".") : directory;
  const int fd = ::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail(place, "cannot open");
  const int status = ::fsync(fd);
  ::close(fd);
  if (status != 0) fail(place, "cannot flush");
}

}  // namespace revenant
