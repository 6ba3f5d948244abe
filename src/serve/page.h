// The files of the page (web/), built into the program.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "serve/answer.h"

namespace revenant {

struct PageFile {
  const char *path, *type;
  std::string_view body;
  const char* etag;  // a digest of the body, in quotes
};
std::span<const PageFile> page_files();

// Of the path of one of them. 304 if the client has it: `if_none_match` is the request's field.
Reply page_reply(std::string_view path, std::string_view if_none_match);

}  // namespace revenant
