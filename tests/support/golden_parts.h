// The golden data that comes with the clone holds everything; another folder may hold only parts.
#pragma once

#include <optional>

#include "support/golden.h"

namespace revenant::golden {

inline bool other_folder() {
  const char* folder = std::getenv("REVENANT_CONFORMANCE");
  return folder && *folder;
}

// Why a test that reads `part` is to be skipped. Nothing: it must run, and fail if the file is not
// there. A folder that does not exist skips nothing.
inline std::optional<std::string> lacks(const std::string& part) {
  const std::filesystem::path root = conformance_root();
  if (!other_folder() || !std::filesystem::is_directory(root)) return {};
  if (std::filesystem::exists(root / part)) return {};
  return "REVENANT_CONFORMANCE: no " + part + " in " + root.string();
}

}  // namespace revenant::golden
