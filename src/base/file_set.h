// The small files of a model, by name: those of a directory, or those that one file carries.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"

namespace revenant {

class FileSet {
 public:
  FileSet(const Path& directory) : origin_(directory) {}
  FileSet(const Path& file, std::map<std::string, std::string, std::less<>> contents)
      : origin_(file),
        contents_(std::make_shared<const std::map<std::string, std::string, std::less<>>>(
            std::move(contents))) {}

  bool in_one_file() const { return contents_ != nullptr; }
  const Path& origin() const { return origin_; }  // the directory, or the one file
  bool has(std::string_view name) const;
  std::string read(std::string_view name) const;      // throws Error if it is absent
  std::string place_of(std::string_view name) const;  // for messages

 private:
  Path origin_;
  std::shared_ptr<const std::map<std::string, std::string, std::less<>>> contents_;  // of one file
};

}  // namespace revenant
