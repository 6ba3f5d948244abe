#include "client/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

namespace revenant {
namespace {

// A block of addresses: the first `bits` bits are those of `first`.
struct Block {
  Address first;
  int bits;

  bool has(const Address& address) const {
    if (address.v6 != first.v6) return false;
    for (int bit = 0; bit < bits; bit += 8) {
      const int left = bits - bit, mask = left >= 8 ? 0xff : 0xff << (8 - left) & 0xff;
      if ((address.bytes[size_t(bit / 8)] ^ first.bytes[size_t(bit / 8)]) & mask) return false;
    }
    return true;
  }
};

Block block(const char* first, int bits) { return {parse_address(first).value(), bits}; }

bool in(std::span<const Block> blocks, const Address& address) {
  return std::ranges::any_of(blocks, [&](const Block& one) { return one.has(address); });
}

const std::vector<Block>& special_v4() {
  static const std::vector<Block> blocks = {
      block("0.0.0.0", 8),         // this network
      block("10.0.0.0", 8),        // private
      block("100.64.0.0", 10),     // shared: a provider's NAT, and services of a cloud
      block("127.0.0.0", 8),       // this machine
      block("168.63.129.16", 32),  // a cloud's own service at a public address
      block("169.254.0.0", 16),    // the link; services of clouds (169.254.169.254)
      block("172.16.0.0", 12),     // private
      block("192.0.0.0", 24),      // protocols
      block("192.0.2.0", 24),      // documentation
      block("192.88.99.0", 24),    // relays of 6to4
      block("192.168.0.0", 16),    // private
      block("198.18.0.0", 15),     // benchmarks
      block("198.51.100.0", 24),   // documentation
      block("203.0.113.0", 24),    // documentation
      block("224.0.0.0", 4),       // multicast
      block("240.0.0.0", 4),       // reserved; broadcast
  };
  return blocks;
}

// Only 2000::/3 is given out; of it these are not for everybody. All else is not public: ::, ::1,
// mapped and compatible ones (::/96, ::ffff:0:0/96), local NAT64 (64:ff9b:1::/48), 100::/64,
// fc00::/7 (with fd00:ec2::254), fe80::/10, fec0::/10, ff00::/8.
const std::vector<Block>& special_v6() {
  static const std::vector<Block> blocks = {
      block("2001::", 23),      // protocols; Teredo
      block("2001:db8::", 32),  // documentation
      block("2002::", 16),      // 6to4: one of version 4 in disguise
      block("3fff::", 20),      // documentation
  };
  return blocks;
}

Address of_version_4(const uint8_t* bytes) {
  Address address;
  std::copy_n(bytes, 4, address.bytes.begin());
  return address;
}

std::vector<Address> addresses_of(const addrinfo* found) {
  std::vector<Address> all;
  for (; found; found = found->ai_next) {
    Address address;
    if (found->ai_family == AF_INET6) {
      const auto* of = reinterpret_cast<const sockaddr_in6*>(found->ai_addr);
      address.v6 = true;
      std::memcpy(address.bytes.data(), &of->sin6_addr, 16);
    } else if (found->ai_family == AF_INET) {
      const auto* of = reinterpret_cast<const sockaddr_in*>(found->ai_addr);
      std::memcpy(address.bytes.data(), &of->sin_addr, 4);
    } else {
      continue;
    }
    all.push_back(address);
  }
  return all;
}

std::vector<Address> asked_of_the_system(const std::string& name) {
  addrinfo wanted{}, *found = nullptr;
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_STREAM;
  if (::getaddrinfo(name.c_str(), nullptr, &wanted, &found) != 0) return {};
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, ::freeaddrinfo);
  return addresses_of(found);
}

std::atomic<int> questions{0};
constexpr int most_questions = 16;

// The system's resolver knows no deadline and cannot be stopped: who asks leaves it alone.
struct Question {
  Question() { ++questions; }
  ~Question() { --questions; }
  std::mutex mutex;
  std::condition_variable answered;
  std::optional<std::vector<Address>> addresses;
};

}  // namespace

std::optional<Address> parse_address(const std::string& text) {
  Address address;
  if (::inet_pton(AF_INET, text.c_str(), address.bytes.data()) == 1) return address;
  address.v6 = true;
  if (::inet_pton(AF_INET6, text.c_str(), address.bytes.data()) == 1) return address;
  return {};
}

bool is_public(const Address& address) {
  static const Block given_out = block("2000::", 3), nat64 = block("64:ff9b::", 96);
  if (!address.v6) return !in(special_v4(), address);
  if (nat64.has(address)) return is_public(of_version_4(address.bytes.data() + 12));
  return given_out.has(address) && !in(special_v6(), address);
}

std::vector<Address> resolve_name(const std::string& name, std::chrono::duration<double> most,
                                  const GoOn& go_on) {
  using namespace std::chrono;
  const auto question = std::make_shared<Question>();
  if (questions > most_questions) throw NoAddress(name + ": too many names are being resolved");
  const auto until = steady_clock::now() + duration_cast<steady_clock::duration>(most);
  std::thread([question, name] {
    std::vector<Address> found = asked_of_the_system(name);
    const std::lock_guard lock(question->mutex);
    question->addresses = std::move(found);
    question->answered.notify_one();
  }).detach();
  std::unique_lock lock(question->mutex);
  while (!question->addresses) {
    stop_unless(go_on);
    if (steady_clock::now() >= until) throw NoAddress(name + ": it took too long to resolve");
    question->answered.wait_until(lock, std::min(until, steady_clock::now() + milliseconds(50)));
  }
  if (question->addresses->empty()) throw NoAddress(name + ": nobody knows this name");
  return std::move(*question->addresses);
}

}  // namespace revenant
