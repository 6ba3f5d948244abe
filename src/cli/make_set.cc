#include "cli/make_set.h"

#include <filesystem>

#include "base/progress.h"

namespace revenant {
namespace {

// Never that of the working directory: it could be anybody's.
Path fetch_script() {
  const Path bin = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const Path script = (bin / "../../../tools/fetch_data.sh").lexically_normal();
  return std::filesystem::exists(script) ? script : Path();
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
