#include "base/sha256.h"

#include <openssl/evp.h>

#include "base/error.h"

namespace revenant {
namespace {

EVP_MD_CTX* of(const std::shared_ptr<void>& context) {
  return static_cast<EVP_MD_CTX*>(context.get());
}

}  // namespace

Sha256::Sha256()
    : context_(EVP_MD_CTX_new(), [](void* c) { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(c)); }) {
  CHECK(EVP_DigestInit_ex(of(context_), EVP_sha256(), nullptr) == 1);
}

Sha256& Sha256::add(std::span<const std::byte> bytes) {
  CHECK(EVP_DigestUpdate(of(context_), bytes.data(), bytes.size()) == 1);
  return *this;
}

Sha256& Sha256::add(std::string_view text) { return add(std::as_bytes(std::span(text))); }

std::string Sha256::digits() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  CHECK(EVP_DigestFinal_ex(of(context_), digest, &size) == 1);
  std::string text;
  for (unsigned i = 0; i < size; ++i) {
    constexpr char hex[] = "0123456789abcdef";
    text += hex[digest[i] >> 4];
    text += hex[digest[i] & 15];
  }
  return text;
}

std::string sha256_of(std::string_view text) { return Sha256().add(text).digits(); }

std::string sha256_of_file(const Path& file) {
  return Sha256().add(MappedFile(file).bytes()).digits();
}

}  // namespace revenant
