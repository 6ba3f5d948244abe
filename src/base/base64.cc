#include "base/base64.h"

#include <openssl/evp.h>

#include <limits>
#include <memory>

namespace revenant {

std::string base64(std::string_view bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](size_t j) {
      return i + j < bytes.size() ? uint32_t(uint8_t(bytes[i + j])) : 0;
    };
    const uint32_t three = byte(0) << 16 | byte(1) << 8 | byte(2);
    for (size_t j = 0; j < 4; ++j)
      out += i + j <= bytes.size() ? digits[three >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

std::optional<std::string> bytes_of_base64(std::string_view text) {
  if (text.size() > size_t(std::numeric_limits<int>::max())) return {};
  std::string bytes(text.size() / 4 * 3 + 3, '\0');
  std::unique_ptr<EVP_ENCODE_CTX, void (*)(EVP_ENCODE_CTX*)> context(EVP_ENCODE_CTX_new(),
                                                                     EVP_ENCODE_CTX_free);
  auto* out = reinterpret_cast<unsigned char*>(bytes.data());
  int size = 0, rest = 0;
  EVP_DecodeInit(context.get());
  const auto* in = reinterpret_cast<const unsigned char*>(text.data());
  const bool good = EVP_DecodeUpdate(context.get(), out, &size, in, int(text.size())) >= 0 &&
                    EVP_DecodeFinal(context.get(), out + size, &rest) >= 0;
  if (!good) return {};
  bytes.resize(size_t(size + rest));
  return bytes;
}

}  // namespace revenant
