// Base64 (RFC 4648), as in data URIs.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace revenant {

std::string base64(std::string_view bytes);
// Nothing, if that is no base64; white space in it is passed over.
std::optional<std::string> bytes_of_base64(std::string_view text);

}  // namespace revenant
