#include "serve/keys.h"

#include <openssl/crypto.h>
#include <sys/stat.h>

#include <algorithm>
#include <sstream>

#include "base/error.h"
#include "base/sha256.h"

namespace revenant {

bool same_bytes(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void Keys::add(std::string_view key) {
  const auto visible = [](char c) { return c > ' ' && c < 0x7f; };
  if (key.empty() || key.size() > 1024 || !std::ranges::all_of(key, visible))
    throw Error("serve", "API key", "1 to 1,024 visible ASCII characters", "something else");
  digests_.push_back(sha256_of(key));
}

void Keys::add_file(const Path& file) {
  const std::string text = read_file(file);
  struct stat about {};
  if (::stat(file.c_str(), &about) != 0 || (about.st_mode & 077) != 0)
    throw Error("serve", file.string(), "a file of keys that its owner alone may read (chmod 600)",
                "one that others may");
  const size_t before = digests_.size();
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    while (line.ends_with('\r') || line.ends_with(' ')) line.pop_back();
    if (!line.empty() && line[0] != '#') add(line);
  }
  if (digests_.size() == before) throw Error("serve", file.string(), "a key a line", "none");
}

std::optional<std::string> Keys::who(std::string_view key) const {
  if (digests_.empty()) return "";
  const std::string given = sha256_of(key);
  bool known = false;
  for (const std::string& digest : digests_) known |= same_bytes(digest, given);
  if (!known) return {};
  return given.substr(0, 16);
}

}  // namespace revenant
