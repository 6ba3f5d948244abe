// Which addresses are public, and what names resolve to.
#include "client/address.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "support/reason.h"
#include "support/special_addresses.h"

namespace revenant {
namespace {

using Seconds = std::chrono::duration<double>;

bool is_public_text(const std::string& text) {
  const auto address = parse_address(text);
  EXPECT_TRUE(address) << text;
  return address && is_public(*address);
}

TEST(Address, SpecialOnesAreNotPublic) {
  for (const char* text : special_addresses) EXPECT_FALSE(is_public_text(text)) << text;
  for (const SpecialBlock& block : special_blocks)
    for (uint64_t seed = 0; seed < 200; ++seed)
      EXPECT_FALSE(is_public(address_in(block, seed))) << block.first << " " << seed;
}

// Among them the neighbours of each block.
TEST(Address, PublicOnes) {
  for (const char* text : {"1.1.1.1",
                           "8.8.8.8",
                           "9.255.255.255",
                           "11.0.0.0",
                           "100.63.255.255",
                           "100.128.0.0",
                           "126.255.255.255",
                           "128.0.0.0",
                           "168.63.129.15",
                           "168.63.129.17",
                           "169.253.255.255",
                           "169.255.0.0",
                           "172.15.255.255",
                           "172.32.0.0",
                           "191.255.255.255",
                           "192.0.1.0",
                           "192.0.3.0",
                           "192.88.98.255",
                           "192.88.100.0",
                           "192.167.255.255",
                           "192.169.0.0",
                           "198.17.255.255",
                           "198.20.0.0",
                           "198.51.99.255",
                           "198.51.101.0",
                           "203.0.112.255",
                           "203.0.114.0",
                           "223.255.255.255",
                           "2001:200::1",
                           "2001:db7:ffff::1",
                           "2001:db9::",
                           "2003::1",
                           "2606:4700:4700::1111",
                           "2a00:1450:4001::200e",
                           "3ffe:ffff::1",
                           "3fff:1000::1",
                           "64:ff9b::8.8.8.8"})
    EXPECT_TRUE(is_public_text(text)) << text;
}

TEST(Address, OnlyTheUsualFormsAreRead) {
  for (const char* text :
       {"", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "127.0.0.1.", "127.0.0.256",
        "1.2.3.4.5", "[::1]", "fe80::1%lo", "::g", "localhost", " 127.0.0.1"})
    EXPECT_FALSE(parse_address(text)) << text;
}

TEST(Address, NamesResolve) {
  const std::vector<Address> found = resolve_name("localhost", Seconds(20));
  ASSERT_FALSE(found.empty());
  for (const Address& address : found)
    EXPECT_TRUE(address == *parse_address("127.0.0.1") || address == *parse_address("::1"));
  expect_part(reason_of([] { resolve_name("no-such-name.invalid", Seconds(60)); }),
              "nobody knows this name");
}

TEST(Address, NobodyWaitsLongerThanHeWants) {
  const Stopwatch watch;
  expect_part(reason_of([] { resolve_name("a.invalid", Seconds(0)); }), "too long");
  EXPECT_THROW(resolve_name("a.invalid", Seconds(60), [] { return false; }), Stopped);
  EXPECT_LT(watch.seconds(), 1);
}

}  // namespace
}  // namespace revenant
