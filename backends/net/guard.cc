#include "backends/net/guard.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace net {
namespace {

constexpr std::uint16_t kDhcpServer = 67;
constexpr std::uint16_t kDhcpv6Server = 547;

// Of ARP for Ethernet and IPv4 (RFC 826).
constexpr std::size_t kArpBytes = 28;
constexpr std::size_t kArpSenderHardware = 8;
constexpr std::size_t kArpSenderProtocol = 14;

constexpr std::size_t kIpv4Source = 12;
constexpr std::size_t kIpv6Length = 4;
constexpr std::size_t kIpv6Source = 8;
constexpr std::size_t kIpv6Bytes = 40;

// Of neighbour discovery (RFC 4861, 4).
constexpr std::size_t kAdvertisedAddress = 8;
constexpr std::size_t kSolicitOptions = 24;  // also an advertisement's
constexpr std::size_t kRouterSolicitOptions = 8;
constexpr std::uint8_t kSourceLinkLayer = 1;
constexpr std::uint8_t kTargetLinkLayer = 2;

template <class Address>
Address take(Head head, std::size_t offset) {
  Address address;
  std::memcpy(address.data(), head.data() + offset, address.size());
  return address;
}

template <class Address>
bool unspecified(const Address& address) {
  return std::ranges::all_of(address, [](std::uint8_t byte) { return byte == 0; });
}

// fe80::/64 with the interface identifier of a MAC address (RFC 4291, appendix A).
Ipv6Prefix::Address link_local_of(const EthernetAddress& mac) {
  const auto& m = mac.bytes;
  return {0xfe, 0x80, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(m[0] ^ 2), m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};
}

}  // namespace

bool Guard::allows(const Ipv4Prefix::Address& address) const {
  return std::ranges::any_of(policy_.ipv4, [&](const auto& prefix) { return prefix.contains(address); });
}

// Neighbour discovery needs a link-local address of whoever has an address at all: the one that the MAC address makes.
bool Guard::allows(const Ipv6Prefix::Address& address) const {
  if (address == link_local_of(own_)) return true;
  return std::ranges::any_of(policy_.ipv6, [&](const auto& prefix) { return prefix.contains(address); });
}

// A second tag would be looked at where the first was taken off: a hop to another VLAN.
bool Guard::allows_vlan(const Frame& frame) const {
  switch (policy_.vlan_rule) {
    case VlanRule::Any:
      return true;
    case VlanRule::UntaggedOnly:
      return frame.tags == 0 || (frame.tags == 1 && frame.vlan == 0);
    case VlanRule::Listed:
      return frame.tags <= 1 && policy_.vlans[frame.vlan];
  }
  return false;
}

std::optional<Drop> Guard::judge_sent(Head head, std::uint64_t now_ns) {
  const auto frame = parse_frame(head);
  if (!frame) return frame.error();
  if (policy_.own_mac_only && frame->source != own_) return Drop::SpoofedMac;
  if (!allows_vlan(*frame)) return Drop::Vlan;
  if (policy_.own_mac_only || policy_.addresses_only) {
    std::optional<Drop> drop;
    if (frame->type == kEtherArp) drop = judge_arp(head, frame->payload);
    if (frame->type == kEtherIpv4) drop = judge_ipv4(head, *frame);
    if (frame->type == kEtherIpv6) drop = judge_ipv6(head, *frame);
    if (drop) return drop;
  }
  // Last, so that what is dropped anyhow takes nothing of the limit.
  if (flood_.limited() && frame->destination.is_multicast()) {
    if (flood_.wait(now_ns) != 0) return Drop::Flood;
    flood_.take(1, now_ns);
  }
  return std::nullopt;
}

std::optional<Drop> Guard::judge_arp(Head head, std::size_t start) const {
  if (head.size() < start + kArpBytes) return Drop::Unparsable;
  constexpr std::uint16_t kEthernet = 1;
  if (word_at(head, start) != kEthernet || word_at(head, start + 2) != kEtherIpv4 || byte_at(head, start + 4) != 6 ||
      byte_at(head, start + 5) != 4)
    return Drop::Unparsable;
  if (policy_.own_mac_only && take<decltype(EthernetAddress::bytes)>(head, start + kArpSenderHardware) != own_.bytes)
    return Drop::SpoofedArp;
  const auto sender = take<Ipv4Prefix::Address>(head, start + kArpSenderProtocol);
  // RFC 5227: who asks whether an address is free has none yet.
  if (policy_.addresses_only && !unspecified(sender) && !allows(sender)) return Drop::SpoofedArp;
  return std::nullopt;
}

std::optional<Drop> Guard::judge_ipv4(Head head, const Frame& frame) const {
  if (!policy_.addresses_only) return std::nullopt;
  const auto transport = find_transport(head, frame);
  if (!transport) return Drop::Unparsable;
  std::optional<std::uint16_t> source_port;
  if (transport->protocol == IPPROTO_UDP && transport->first && head.size() >= transport->offset + 4)
    source_port = word_at(head, transport->offset);
  if (source_port == kDhcpServer) return Drop::RogueServer;
  const auto source = take<Ipv4Prefix::Address>(head, frame.payload + kIpv4Source);
  if (allows(source)) return std::nullopt;
  // RFC 2131, 4.1: who asks for an address by DHCP has none yet.
  constexpr std::uint16_t kDhcpClient = 68;
  const bool asks =
      unspecified(source) && source_port == kDhcpClient && word_at(head, transport->offset + 2) == kDhcpServer;
  return asks ? std::nullopt : std::optional(Drop::SpoofedIpv4);
}

std::optional<Drop> Guard::judge_ipv6(Head head, const Frame& frame) const {
  const auto transport = find_transport(head, frame);
  if (!transport) return Drop::Unparsable;
  const bool icmp = transport->protocol == IPPROTO_ICMPV6 && transport->first;
  if (icmp)
    if (const auto drop = judge_icmpv6(head, frame, *transport)) return drop;
  if (!policy_.addresses_only) return std::nullopt;
  if (transport->protocol == IPPROTO_UDP && transport->first && head.size() >= transport->offset + 2 &&
      word_at(head, transport->offset) == kDhcpv6Server)
    return Drop::RogueServer;
  const auto source = take<Ipv6Prefix::Address>(head, frame.payload + kIpv6Source);
  // RFC 4862, 5.4: who asks whether an address is free has none yet, and says by ICMPv6 alone that he listens to it.
  if (allows(source) || (unspecified(source) && icmp)) return std::nullopt;
  return Drop::SpoofedIpv6;
}

std::optional<Drop> Guard::judge_icmpv6(Head head, const Frame& frame, const Transport& transport) const {
  if (head.size() < transport.offset + 4) return Drop::Unparsable;
  std::size_t options = 0;
  switch (byte_at(head, transport.offset)) {
    case ND_ROUTER_ADVERT:
    case ND_REDIRECT:
      return policy_.addresses_only ? std::optional(Drop::RogueServer) : std::nullopt;
    case ND_ROUTER_SOLICIT:
      options = kRouterSolicitOptions;
      break;
    case ND_NEIGHBOR_SOLICIT:
    case ND_NEIGHBOR_ADVERT:
      options = kSolicitOptions;
      break;
    default:
      return std::nullopt;
  }
  if (transport.fragment) return Drop::SpoofedNd;  // RFC 6980, 5: it is never fragmented
  // What a frame has behind its packet is padding.
  const std::size_t end = frame.payload + kIpv6Bytes + word_at(head, frame.payload + kIpv6Length);
  if (head.size() < end || end < transport.offset + options) return Drop::Unparsable;
  if (policy_.addresses_only && byte_at(head, transport.offset) == ND_NEIGHBOR_ADVERT &&
      !allows(take<Ipv6Prefix::Address>(head, transport.offset + kAdvertisedAddress)))
    return Drop::SpoofedNd;
  for (std::size_t at = transport.offset + options; at < end;) {
    if (end - at < 2) return Drop::Unparsable;
    const std::uint8_t type = byte_at(head, at);
    const std::size_t bytes = std::size_t{8} * byte_at(head, at + 1);
    if (bytes == 0 || end - at < bytes) return Drop::Unparsable;
    if (policy_.own_mac_only && (type == kSourceLinkLayer || type == kTargetLinkLayer) &&
        take<decltype(EthernetAddress::bytes)>(head, at + 2) != own_.bytes)
      return Drop::SpoofedNd;
    at += bytes;
  }
  return std::nullopt;
}

}  // namespace net
