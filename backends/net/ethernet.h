// Addresses of Ethernet, IPv4 and IPv6, as frames carry them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "ipc/ethernet_address.h"

namespace net {

using ipc::EthernetAddress;
using ipc::parse_ethernet;
using ipc::to_text;

// The first `bits` bits of `bytes`, of an address of N bytes in network order.
template <std::size_t N>
struct Prefix {
  using Address = std::array<std::uint8_t, N>;
  Address bytes{};
  std::uint8_t bits = 0;  // to 8 * N

  bool contains(const Address& address) const {
    const std::size_t whole = bits / 8;
    if (!std::equal(bytes.begin(), bytes.begin() + whole, address.begin())) return false;
    const unsigned rest = bits % 8;
    return rest == 0 || ((bytes[whole] ^ address[whole]) >> (8 - rest)) == 0;
  }
  friend bool operator==(const Prefix&, const Prefix&) = default;
};
using Ipv4Prefix = Prefix<4>;
using Ipv6Prefix = Prefix<16>;

// "10.0.0.5", "10.0.0.0/24"; "fd00::1", "fd00::/64".
std::optional<Ipv4Prefix> parse_ipv4(const std::string& text);
std::optional<Ipv6Prefix> parse_ipv6(const std::string& text);
std::string to_text(const Ipv4Prefix& prefix);
std::string to_text(const Ipv6Prefix& prefix);

}  // namespace net
