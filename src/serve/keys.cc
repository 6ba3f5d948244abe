#include "serve/keys.h"

#include <openssl/crypto.h>

#include "base/key_file.h"
#include "base/sha256.h"

namespace revenant {

bool same_bytes(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void Keys::add(std::string_view key) {
  check_key(key, "serve");
  digests_.push_back(sha256_of(key));
}

void Keys::add_file(const Path& file) {
  for (const std::string& key : read_key_file(file, "serve")) add(key);
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
