// Bytes that are kept in a directory from one run to the next, within a budget; what was not used
// for the longest time goes first. Safe from many threads, and where several programs share the
// directory.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/file.h"

namespace revenant {

struct DiskCacheOptions {
  Path directory;  // made, readable by its owner alone, if it is not there
  size_t bytes = size_t(4) << 30;
  size_t waiting_bytes = size_t(256)
                         << 20;  // that wait for being written; what is more is left out
  std::function<void(const std::string&)> tell = {};  // of a file that is damaged; from any thread
};

class DiskCache {
 public:
  explicit DiskCache(DiskCacheOptions options);  // throws Error
  ~DiskCache();                                  // what waits is written
  DiskCache(const DiskCache&) = delete;

  // A name is 64 hexadecimal digits (SHA-256 of all that decides about the bytes). What is found
  // has the bytes that were put under it: a file with others is told of, and goes.
  std::optional<std::string> find(const std::string& name);
  bool has(const std::string& name) const;
  void put(const std::string& name, std::string bytes);  // returns at once
  void flush();                                          // until all that waits is written
  size_t bytes() const;                                  // of files

 private:
  struct Entry {
    std::string name;
    size_t bytes;
  };
  Path file_of(const std::string& name) const { return options_.directory / (name + ".cache"); }
  void read_directory();
  void write_what_waits();
  void write(const std::string& name, const std::string& bytes);
  void enter(const std::string& name, size_t bytes);
  void forget(const std::string& name);

  const DiskCacheOptions options_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::list<Entry> entries_;  // the last used first
  std::map<std::string, std::list<Entry>::iterator> by_name_;
  size_t bytes_ = 0;
  std::deque<std::pair<std::string, std::string>> waiting_;  // the first is being written
  size_t waiting_bytes_ = 0;
  bool ended_ = false;
  std::thread writer_;
};

}  // namespace revenant
