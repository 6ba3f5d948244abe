// Who may ask: API keys, kept as digests, compared in constant time.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"

namespace revenant {

class Keys {
 public:
  void add(std::string_view key);   // throws Error on an empty one, or of other than visible ASCII
  void add_file(const Path& file);  // as base/key_file.h says
  bool empty() const { return digests_.empty(); }

  // Who it is, a short digest: with no keys everybody is ""; nothing: not one of them. Takes as
  // long whatever the key.
  std::optional<std::string> who(std::string_view key) const;

 private:
  std::vector<std::string> digests_;  // SHA-256
};

// Whether both are the same, in a time that depends on their lengths alone.
bool same_bytes(std::string_view a, std::string_view b);

}  // namespace revenant
