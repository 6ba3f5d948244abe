#include "base/file_set.h"

#include "base/error.h"

namespace revenant {

bool FileSet::has(std::string_view name) const {
  return contents_ ? contents_->contains(name) : std::filesystem::exists(origin_ / name);
}

std::string FileSet::read(std::string_view name) const {
  if (!contents_) return read_file(origin_ / name);
  const auto found = contents_->find(name);
  if (found == contents_->end()) throw Error("file", place_of(name), "this part", "none");
  return found->second;
}

std::string FileSet::place_of(std::string_view name) const {
  return contents_ ? origin_.string() + ": " + std::string(name) : (origin_ / name).string();
}

}  // namespace revenant
