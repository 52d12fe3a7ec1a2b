// Addresses of Ethernet, IPv4 and IPv6, as frames carry them.
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace net {

struct EthernetAddress {
  std::array<std::uint8_t, 6> bytes{};

  bool is_multicast() const { return (bytes[0] & 1) != 0; }  // broadcast is one
  bool is_broadcast() const {
    return std::ranges::all_of(bytes, [](std::uint8_t byte) { return byte == 0xff; });
  }
  friend auto operator<=>(const EthernetAddress&, const EthernetAddress&) = default;
};

// "52:54:00:12:34:56".
std::optional<EthernetAddress> parse_ethernet(const std::string& text);
std::string to_text(const EthernetAddress& address);

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
