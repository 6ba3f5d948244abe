// Files: memory-mapped reading, whole reading, and writing that is all or nothing.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace revenant {

using Path = std::filesystem::path;

// "~" and "~/..." under HOME (else the home of the password file), "~NAME/..." under that user's
// home, all else as it is: for paths that no shell has read. Throws Error if there is no home.
Path expand_home(const Path& path);

// A read-only mapping of a whole file; throws Error if it is missing or not a regular file.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const Path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Lets go of the memory that holds whole pages of a mapped file; read again, they are read anew.
void forget_pages(const void* data, size_t size);

std::string read_file(const Path& path);  // throws Error

// Writes through a temporary name beside `path`, flushes, renames, and flushes the directory.
// On any failure the old file stays and the temporary one is removed.
class AtomicFile {
 public:
  explicit AtomicFile(const Path& path, unsigned mode = 0644);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  void write(const void* data, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  Path path_, temporary_;
  int fd_ = -1;
};

void write_file(const Path& path, std::string_view content, unsigned mode = 0644);  // atomic
void sync_directory(const Path& directory);  // makes finished renames durable

}  // namespace revenant
