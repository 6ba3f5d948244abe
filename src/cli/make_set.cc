#include "cli/make_set.h"

#include <filesystem>

#include "base/progress.h"

namespace revenant {
namespace {

Path fetch_script() {
  const Path bin = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  for (const Path& place : {Path("tools"), bin / "../../../tools"})
    if (std::filesystem::exists(place / "fetch_data.sh"))
      return std::filesystem::absolute(place / "fetch_data.sh");
  return {};
}

}  // namespace

void make_set(const std::string& name, MakeOptions options) {
  if (options.fetch_script.empty()) options.fetch_script = fetch_script();
  Progress progress("data " + name, "pictures");
  options.progress = [&](size_t done, size_t total, const std::string& label) {
    progress.show(done, total, label);
  };
  make_dataset(name, options);
}

}  // namespace revenant
