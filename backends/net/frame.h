// An Ethernet frame, as far as its first bytes tell. All of it is what a guest or a peer says: it was copied before it
// is looked at, so that it cannot change between the look and the use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>

#include "backends/net/counters.h"
#include "backends/net/ethernet.h"

namespace net {

// So much of a frame is copied and looked at: Ethernet with four tags, IPv6 with some extension headers, a
// neighbour discovery message with its options.
inline constexpr std::size_t kHeadBytes = 256;
inline constexpr std::size_t kEthernetBytes = 14;
inline constexpr std::size_t kTagBytes = 4;

inline constexpr std::uint16_t kEtherIpv4 = 0x0800;
inline constexpr std::uint16_t kEtherArp = 0x0806;
inline constexpr std::uint16_t kEtherIpv6 = 0x86dd;

using Head = std::span<const std::byte>;

// Big-endian numbers of a head. The caller has seen that they are in it.
std::uint8_t byte_at(Head head, std::size_t offset);
std::uint16_t word_at(Head head, std::size_t offset);

struct Frame {
  EthernetAddress destination;
  EthernetAddress source;
  unsigned tags = 0;        // 802.1Q and 802.1ad
  std::uint16_t vlan = 0;   // of the outermost tag; 0: none, or a tag that gives a priority alone
  std::uint16_t type = 0;   // EtherType behind the tags
  std::size_t payload = 0;  // where what it tells of begins; may be beyond the head
};

// TooShort for less than an Ethernet header, Unparsable for more than four tags, or tags that the frame cuts off.
std::expected<Frame, Drop> parse_frame(Head head);

// What an IP packet carries.
struct Transport {
  std::uint8_t protocol;  // of IPv4, or the last header of IPv6
  std::size_t offset;     // where it begins
  bool first;             // it is not a later fragment, whose transport header is elsewhere
  bool fragment;          // it is one of several
};

// Nothing where the frame is no IP packet, or its headers are malformed or go beyond the head.
std::optional<Transport> find_transport(Head head, const Frame& frame);

}  // namespace net
