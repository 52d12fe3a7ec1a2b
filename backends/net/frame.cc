#include "backends/net/frame.h"

#include <netinet/in.h>

#include <cstring>

namespace net {
namespace {

constexpr std::uint16_t kEtherVlan = 0x8100;         // 802.1Q
constexpr std::uint16_t kEtherServiceVlan = 0x88a8;  // 802.1ad
constexpr unsigned kMostTags = 4;
constexpr std::uint16_t kVlanId = 0x0fff;

constexpr std::size_t kIpv4Bytes = 20;
constexpr std::size_t kIpv6Bytes = 40;
constexpr unsigned kMostExtensions = 8;

std::optional<Transport> transport_of_ipv4(Head head, std::size_t start) {
  if (head.size() < start + kIpv4Bytes || byte_at(head, start) >> 4 != 4) return std::nullopt;
  const std::size_t header = std::size_t{4} * (byte_at(head, start) & 0xf);
  if (header < kIpv4Bytes || head.size() < start + header) return std::nullopt;
  const std::uint16_t fragment = word_at(head, start + 6);
  const bool first = (fragment & 0x1fff) == 0;
  return Transport{.protocol = byte_at(head, start + 9),
                   .offset = start + header,
                   .first = first,
                   .fragment = !first || (fragment & 0x2000) != 0};
}

// RFC 8200, 4: extension headers stand before the transport header, each naming the next.
std::optional<Transport> transport_of_ipv6(Head head, std::size_t start) {
  if (head.size() < start + kIpv6Bytes || byte_at(head, start) >> 4 != 6) return std::nullopt;
  Transport found{.protocol = byte_at(head, start + 6), .offset = start + kIpv6Bytes, .first = true, .fragment = false};
  for (unsigned i = 0; i < kMostExtensions; ++i) {
    std::size_t bytes = 0;
    switch (found.protocol) {
      case IPPROTO_HOPOPTS:
      case IPPROTO_ROUTING:
      case IPPROTO_DSTOPTS:
        if (head.size() < found.offset + 2) return std::nullopt;
        bytes = std::size_t{8} * (byte_at(head, found.offset + 1) + 1u);
        break;
      case IPPROTO_AH:
        if (head.size() < found.offset + 2) return std::nullopt;
        bytes = std::size_t{4} * (byte_at(head, found.offset + 1) + 2u);
        break;
      case IPPROTO_FRAGMENT:
        bytes = 8;
        if (head.size() < found.offset + bytes) return std::nullopt;
        found.fragment = true;
        found.first = word_at(head, found.offset + 2) >> 3 == 0;
        break;
      default:
        return found;
    }
    if (head.size() < found.offset + bytes) return std::nullopt;
    found.protocol = byte_at(head, found.offset);
    found.offset += bytes;
    if (!found.first) return found;  // what follows is a part of something
  }
  return std::nullopt;
}

EthernetAddress address_at(Head head, std::size_t offset) {
  EthernetAddress address;
  std::memcpy(address.bytes.data(), head.data() + offset, address.bytes.size());
  return address;
}

}  // namespace

std::uint8_t byte_at(Head head, std::size_t offset) {
  return static_cast<std::uint8_t>(head[offset]);
}

std::uint16_t word_at(Head head, std::size_t offset) {
  return static_cast<std::uint16_t>(byte_at(head, offset) << 8 | byte_at(head, offset + 1));
}

std::expected<Frame, Drop> parse_frame(Head head) {
  if (head.size() < kEthernetBytes) return std::unexpected(Drop::TooShort);
  Frame frame{.destination = address_at(head, 0), .source = address_at(head, 6)};
  frame.type = word_at(head, 12);
  frame.payload = kEthernetBytes;
  while (frame.type == kEtherVlan || frame.type == kEtherServiceVlan) {
    if (frame.tags == kMostTags || head.size() < frame.payload + kTagBytes) return std::unexpected(Drop::Unparsable);
    if (frame.tags == 0) frame.vlan = word_at(head, frame.payload) & kVlanId;
    frame.type = word_at(head, frame.payload + 2);
    frame.payload += kTagBytes;
    ++frame.tags;
  }
  return frame;
}

std::optional<Transport> find_transport(Head head, const Frame& frame) {
  if (frame.type == kEtherIpv4) return transport_of_ipv4(head, frame.payload);
  if (frame.type == kEtherIpv6) return transport_of_ipv6(head, frame.payload);
  return std::nullopt;
}

}  // namespace net
