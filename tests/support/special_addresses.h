// Addresses that nobody may be sent to by a stranger.
#pragma once

#include "base/random.h"
#include "client/address.h"

namespace revenant {

inline constexpr const char* special_addresses[] = {
    "0.0.0.0",
    "0.255.255.255",  // this network
    "10.0.0.0",
    "10.255.255.255",  // private
    "172.16.0.0",
    "172.31.255.255",  // private
    "192.168.0.0",
    "192.168.255.255",  // private
    "100.64.0.0",
    "100.127.255.255",
    "100.100.100.200",  // shared; a cloud's metadata
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",  // this machine
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",  // the link; metadata
    "168.63.129.16",    // a cloud's own
    "192.0.0.0",
    "192.0.0.192",
    "192.0.0.255",  // protocols
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.255",  // documentation
    "198.18.0.0",
    "198.19.255.255",  // benchmarks
    "192.88.99.1",     // relays of 6to4
    "224.0.0.1",
    "239.255.255.255",  // multicast
    "240.0.0.1",
    "255.255.255.255",  // reserved, broadcast
    "::",
    "::1",  // none, this machine
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",  // version 4, mapped
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",  // and translated
    "::127.0.0.1",
    "::8.8.8.8",  // compatible
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",  // NAT64 of what is private
    "64:ff9b::192.168.1.1",
    "64:ff9b::169.254.169.254",  //
    "64:ff9b:1::1",
    "64:ff9b:1::8.8.8.8",  // NAT64 of one's own
    "100::1",              // nowhere
    "2001::1",
    "2001:0:7f00:1::",
    "2001:20::1",  // protocols, Teredo
    "2001:db8::1",
    "3fff::1",
    "3fff:fff:ffff::1",  // documentation
    "2002:7f00:1::",
    "2002:a00:1::",
    "2002:c0a8:101::1",  // 6to4 of what is private
    "2002:a9fe:a9fe::",  //
    "5f00::1",
    "4000::1",  // not given out
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",  // unique local; metadata
    "fdff:ffff::1",
    "fe80::1",
    "febf::1",
    "fec0::1",  // the link, the site
    "ff02::1",
    "ff0e::1",  // multicast
};

struct SpecialBlock {
  const char* first;
  int bits;
};
inline constexpr SpecialBlock special_blocks[] = {
    {"0.0.0.0", 8},      {"10.0.0.0", 8},     {"100.64.0.0", 10},       {"127.0.0.0", 8},
    {"169.254.0.0", 16}, {"172.16.0.0", 12},  {"192.0.0.0", 24},        {"192.0.2.0", 24},
    {"192.88.99.0", 24}, {"192.168.0.0", 16}, {"198.18.0.0", 15},       {"198.51.100.0", 24},
    {"203.0.113.0", 24}, {"224.0.0.0", 4},    {"240.0.0.0", 4},         {"::", 96},
    {"::ffff:0:0", 96},  {"64:ff9b:1::", 48}, {"64:ff9b::7f00:0", 104}, {"64:ff9b::a00:0", 104},
    {"100::", 64},       {"2001::", 23},      {"2001:db8::", 32},       {"2002::", 16},
    {"3fff::", 20},      {"fc00::", 7},       {"fe80::", 10},           {"ff00::", 8},
};

// Any of a block.
inline Address address_in(const SpecialBlock& block, uint64_t seed) {
  Address address = *parse_address(block.first);
  Random random(seed);
  for (int bit = block.bits; bit < (address.v6 ? 128 : 32); ++bit)
    if (random.below(2)) address.bytes[size_t(bit / 8)] ^= uint8_t(0x80 >> bit % 8);
  return address;
}

}  // namespace revenant
