// Files that were dropped onto a terminal or typed into a chat: terminals write a dropped file's
// path quoted, with backslashes, as a file:// URI or plain, with a blank after it, several in a
// row.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"

namespace revenant {

// What stands after /image: one path, blanks and all, if there is such a file; else the paths of
// its words. ~ and ~NAME are homes. At least one, unless there is nothing but white space.
std::vector<Path> dropped_paths(std::string_view text);

// A line of a chat whose words may be dropped pictures: absolute paths (also ~/..., file://) that
// end like a picture's name.
struct Dropped {
  std::vector<Path> pictures;
  std::string question;  // the rest
};
Dropped split_dropped(std::string_view line);

}  // namespace revenant
