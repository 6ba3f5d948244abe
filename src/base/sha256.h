// SHA-256 (FIPS 180-4), by OpenSSL's libcrypto.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/file.h"

namespace revenant {

// Takes bytes in pieces and gives 64 hexadecimal digits.
class Sha256 {
 public:
  Sha256();
  Sha256& add(std::span<const std::byte> bytes);
  Sha256& add(std::string_view text);
  std::string digits();  // once

 private:
  std::shared_ptr<void> context_;
};

std::string sha256_of(std::string_view text);
std::string sha256_of_file(const Path& file);  // throws Error

}  // namespace revenant
