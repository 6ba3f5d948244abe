// The files that are being written under a temporary name, for the signal that ends the program.
#pragma once

#include "base/file.h"

namespace revenant::temporary_files {

void add(const Path& path);
void forget(const Path& path);

// Safe in a signal handler. Those beyond the first 64 at once, or with very long names, stay.
void remove_all();

}  // namespace revenant::temporary_files
