// Addresses of the internet protocol: which of them are public, and what a name resolves to.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/stop.h"

namespace revenant {

struct Address {
  bool v6 = false;
  std::array<uint8_t, 16> bytes{};  // as they go over the network; of version 4 the first four

  bool operator==(const Address&) const = default;
};
// As inet_pton reads it: four decimal numbers, or the form of version 6 without a zone.
std::optional<Address> parse_address(const std::string& text);

// Whether it is one of the public internet (IANA's registries of special addresses, RFC 6890): not
// of this machine, of a link or a private network, shared (100.64.0.0/10), for documentation or
// benchmarks, of many (multicast), reserved, or a cloud's own service. One of version 4 that is
// written as one of version 6 is not, but behind NAT64 (64:ff9b::/96), where it is as public as the
// one of version 4.
bool is_public(const Address& address);

// A name that nobody knows, or that took too long.
struct NoAddress : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The addresses of a name, as the system resolves it: never empty. Throws NoAddress, after `most`
// at the latest, and Stopped. (A question that nobody waits for any more ends on a thread of its
// own; of those there are a few at most.)
using Resolve = std::function<std::vector<Address>(
    const std::string& name, std::chrono::duration<double> most, const GoOn& go_on)>;
std::vector<Address> resolve_name(const std::string& name, std::chrono::duration<double> most,
                                  const GoOn& go_on = {});

}  // namespace revenant
