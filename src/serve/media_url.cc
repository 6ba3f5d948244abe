#include "serve/media_url.h"

#include <algorithm>
#include <ranges>

#include "base/ascii.h"
#include "base/error.h"

namespace revenant {
namespace {

constexpr size_t longest_url = 8192, longest_name = 253, longest_label = 63;

[[noreturn]] void refuse(const std::string& found) {
  throw Error("serve", "URL", "https://NAME[:PORT]/... or file:///PATH", found);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = char(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// What RFC 3986 allows in a URL, but for the fragment; a % is followed by two digits.
void check_letters(std::string_view text) {
  if (text.size() > longest_url) refuse("more than 8192 bytes");
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '#') refuse("a fragment");
    if (text[i] <= ' ' || text[i] >= 0x7f ||
        std::string_view("\"<>\\^`{|}").find(text[i]) != text.npos)
      refuse("a character that stands in no URL");
    if (text[i] == '%' &&
        (i + 2 >= text.size() || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0))
      refuse("a % without two digits");
  }
}

bool is_number(std::string_view label) {
  const bool hex = label.starts_with("0x");
  return std::ranges::all_of(hex ? label.substr(2) : label, [&](char c) {
    return hex ? hex_digit(c) >= 0 : c >= '0' && c <= '9';
  });
}

bool is_label(std::string_view label) {
  return !label.empty() && label.size() <= longest_label && label.front() != '-' &&
         label.back() != '-' && std::ranges::all_of(label, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
         });
}

// A name and no address: what ends in a number is read as one of version 4 by somebody (127.1,
// 0x7f000001, 017700000001).
void check_name(const std::string& host) {
  std::string_view last;
  bool good = host.size() <= longest_name;
  for (size_t begin = 0; good && begin <= host.size(); begin += last.size() + 1) {
    last = std::string_view(host).substr(begin, host.find('.', begin) - begin);
    good = is_label(last);
  }
  if (!good || is_number(last)) refuse("a host that is no name");
}

Url parse_host(std::string_view place) {
  Url url;
  try {
    url = parse_url("https://" + std::string(place));
  } catch (const Error&) {
    refuse("a host or port that is none");
  }
  url.host = lower_ascii(url.host);
  url.port = std::to_string(std::stoi(url.port));
  check_name(url.host);
  if (url.port == "0") refuse("port 0");
  return url;
}

std::string decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
    } else {
      out += char(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
      i += 2;
    }
  }
  return out;
}

// `text`: without its scheme.
std::string parse_path(std::string_view text) {
  if (text.find('?') != text.npos) refuse("a query");
  const std::string path = decoded(text);
  for (const char c : path)
    if (uint8_t(c) < ' ' || c == 0x7f) refuse("a control character in a path");
  const std::string_view parts = std::string_view(path).substr(path.starts_with('/'));
  for (size_t begin = 0, size; begin <= parts.size(); begin += size + 1) {
    size = std::min(parts.find('/', begin), parts.size()) - begin;
    const std::string_view part = parts.substr(begin, size);
    if (part.empty() || part == "." || part == "..") refuse("an empty part, . or .. in a path");
  }
  return path;
}

}  // namespace

MediaUrl parse_media_url(std::string_view text) {
  check_letters(text);
  const size_t scheme = text.find("://");
  const std::string name = lower_ascii(text.substr(0, scheme == text.npos ? 0 : scheme));
  if (name != "https" && name != "file") refuse("another scheme");
  const std::string_view rest = text.substr(scheme + 3);
  if (name == "file") return {.file = true, .path = parse_path(rest)};
  const size_t end = std::min(rest.find_first_of("/?"), rest.size());
  MediaUrl media{.url = parse_host(rest.substr(0, end))};
  media.url.path = (rest.substr(end).starts_with('/') ? "" : "/") + std::string(rest.substr(end));
  return media;
}

Url parse_media_domain(std::string_view text) {
  check_letters(text);
  if (text.find_first_of("/?@") != text.npos) refuse("more than NAME or NAME:PORT");
  return parse_host(text);
}

}  // namespace revenant
