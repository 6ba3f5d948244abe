// A fresh directory that goes away with its owner.
#pragma once

#include <stdlib.h>

#include "base/file.h"

namespace revenant {

struct Temporary {
  Path path;
  Temporary() {
    std::string name = (std::filesystem::temp_directory_path() / "revenant_XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~Temporary() { std::filesystem::remove_all(path); }
  Temporary(const Temporary&) = delete;
};

}  // namespace revenant
