// Where a picture lies that a request names by a URL. Read strictly, and in this place alone.
#pragma once

#include <string>
#include <string_view>

#include "client/http.h"

namespace revenant {

struct MediaUrl {
  bool file = false;
  // https: the host in small letters; `path` is all that follows it, with the query, as it was
  // written.
  Url url = {};
  // file: decoded once, without empty parts, "." and ".."; from / on (vLLM's form, file:///A/B), or
  // else from the server's folder on (llama-server's, file://A/B).
  std::string path = {};
};

// https://NAME[:PORT][/...][?...], file:///PATH or file://PATH, of visible ASCII that is allowed in
// a URL. Throws Error that says nothing of the text. Other schemes, a user, a fragment, addresses
// in the place of a name in whatever form, and names that end in a dot or are not ASCII are
// refused.
MediaUrl parse_media_url(std::string_view text);

// NAME or NAME:PORT, a host of such URLs, with nothing but its host and port set. Throws Error.
Url parse_media_domain(std::string_view text);

}  // namespace revenant
