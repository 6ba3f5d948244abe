#include "data/parquet.h"

#include <dlfcn.h>

#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace revenant {
namespace {

using Open = ParquetRows* (*)(const char*);

// The library stands beside the program.
Open loaded(const Path& asked_for) {
  const Path library =
      std::filesystem::read_symlink("/proc/self/exe").parent_path() / "librevenant_parquet.so";
  static void* const handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* const open = handle ? ::dlsym(handle, "revenant_open_parquet") : nullptr;
  if (open) return reinterpret_cast<Open>(open);
  const char* why = ::dlerror();
  throw Error("data", asked_for.string(),
              "a build that reads Parquet (cmake -DREVENANT_PARQUET=ON, with Arrow: docs/data.md)",
              std::filesystem::exists(library) && why ? why : "one without Arrow");
}

}  // namespace

std::unique_ptr<ParquetRows> open_parquet(const Path& file) {
  return std::unique_ptr<ParquetRows>(loaded(file)(file.c_str()));
}

nlohmann::json parquet_field(const Path& file, uint64_t row, const std::string& name) {
  struct Opened {
    std::mutex mutex;
    std::unique_ptr<ParquetRows> rows;
  };
  static std::mutex mutex;
  static std::map<Path, Opened> files;
  Opened& opened = [&]() -> Opened& {
    const std::lock_guard lock(mutex);
    return files[file];
  }();
  const std::lock_guard lock(opened.mutex);
  if (!opened.rows) opened.rows = open_parquet(file);
  return opened.rows->field(row, name);
}

}  // namespace revenant
