#include "ipc/ethernet_address.h"

#include <fmt/format.h>

#include <charconv>

namespace ipc {

std::optional<EthernetAddress> parse_ethernet(const std::string& text) {
  EthernetAddress address;
  if (text.size() != 17) return std::nullopt;
  for (std::size_t i = 0; i < address.bytes.size(); ++i) {
    const char* const start = text.data() + 3 * i;
    const auto [rest, error] = std::from_chars(start, start + 2, address.bytes[i], 16);
    if (error != std::errc() || rest != start + 2 || (i < 5 && *rest != ':')) return std::nullopt;
  }
  return address;
}

std::string to_text(const EthernetAddress& address) {
  return fmt::format("{:02x}", fmt::join(address.bytes, ":"));
}

}  // namespace ipc
