// MAC addresses, as the monitor, back ends and people write them.
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>

namespace ipc {

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

}  // namespace ipc
