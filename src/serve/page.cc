#include "serve/page.h"

#include <algorithm>

namespace revenant {
namespace {

// Script and style only from files of this server, requests only to it, nothing inline; no page may
// put this one into a frame. Pictures of a chat are data: URIs.
constexpr const char* policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

}  // namespace

Reply page_reply(std::string_view path, std::string_view if_none_match) {
  const auto file = std::ranges::find(page_files(), path,
                                      [](const PageFile& f) { return std::string_view(f.path); });
  CHECK(file != page_files().end());
  Reply reply{.type = file->type, .body = std::string(file->body)};
  reply.cache = "no-cache";  // kept, but asked for each time whether it is still the same
  reply.headers = {{"ETag", file->etag},
                   {"Content-Security-Policy", policy},
                   {"Referrer-Policy", "no-referrer"},
                   {"Cross-Origin-Opener-Policy", "same-origin"}};
  if (if_none_match.find(file->etag) == if_none_match.npos) return reply;
  reply.status = 304;
  reply.body.clear();
  return reply;
}

}  // namespace revenant
