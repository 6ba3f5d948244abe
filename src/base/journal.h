// A file of JSON lines that grows with each result of long work, so that work that was stopped, by
// whatever means, goes on from it.
#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/place.h"

namespace revenant {

struct JournalOptions {
  std::string room;      // of its Errors
  bool durable = false;  // each line is on the disk before `add` returns: it cost money
};

class Journal {
 public:
  using TakeLine = std::function<void(const nlohmann::json& line, const Place& place)>;

  // The first line is `{"run": run}`, what the results depend on; take(...) is called with each
  // later one. A last line that was broken off is cut away. Throws Error where another process has
  // the file open, and, naming the key, where it is of another run.
  Journal(const Path& file, const nlohmann::json& run, const JournalOptions& options,
          const TakeLine& take);

  void add(const nlohmann::json& line);  // throws Error

 private:
  void read(std::string_view text, const nlohmann::json& run, const TakeLine& take) const;
  void check_run(const nlohmann::json& line, const nlohmann::json& run) const;

  Path file_;
  JournalOptions options_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> out_{nullptr, std::fclose};
};

}  // namespace revenant
