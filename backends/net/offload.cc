#include "backends/net/offload.h"

#include <netinet/in.h>

#include "backends/net/checksum.h"
#include "backends/virtio/features.h"

namespace net {
namespace {

constexpr std::size_t kTcpBytes = 20;
constexpr std::size_t kUdpBytes = 8;
constexpr std::size_t kTcpChecksum = 16;
constexpr std::size_t kUdpChecksum = 6;

bool has(std::uint64_t features, unsigned bit) {
  return (features & virtio::feature_bit(bit)) != 0;
}

// The headers in front of what is cut to segments; nothing if they are not what the type says.
std::optional<std::size_t> header_bytes(std::uint8_t type, const Header& header, Head head) {
  const auto frame = parse_frame(head);
  if (!frame) return std::nullopt;
  const auto transport = find_transport(head, *frame);
  if (!transport || !transport->first || transport->offset != header.csum_start) return std::nullopt;
  const bool tcp = type == VIRTIO_NET_HDR_GSO_TCPV4 || type == VIRTIO_NET_HDR_GSO_TCPV6;
  const bool wants_ipv4 = type == VIRTIO_NET_HDR_GSO_TCPV4;
  const bool wants_ipv6 = type == VIRTIO_NET_HDR_GSO_TCPV6;
  if ((wants_ipv4 && frame->type != kEtherIpv4) || (wants_ipv6 && frame->type != kEtherIpv6)) return std::nullopt;
  if (transport->protocol != (tcp ? IPPROTO_TCP : IPPROTO_UDP)) return std::nullopt;
  if (header.csum_offset != (tcp ? kTcpChecksum : kUdpChecksum)) return std::nullopt;
  if (!tcp) return transport->offset + kUdpBytes;
  if (head.size() < transport->offset + kTcpBytes) return std::nullopt;
  const std::size_t own = std::size_t{4} * (byte_at(head, transport->offset + 12) >> 4);
  return own < kTcpBytes ? std::nullopt : std::optional(transport->offset + own);
}

bool agreed_on(std::uint8_t type, bool ecn, const Offloads& agreed, Head head) {
  if (ecn && !agreed.ecn) return false;
  switch (type) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
      return agreed.tso4;
    case VIRTIO_NET_HDR_GSO_TCPV6:
      return agreed.tso6;
    case VIRTIO_NET_HDR_GSO_UDP:
      return agreed.ufo;
    default: {
      const auto frame = parse_frame(head);
      return frame && (frame->type == kEtherIpv4 ? agreed.uso4 : agreed.uso6);
    }
  }
}

}  // namespace

Offloads offloads_of_device(std::uint64_t features) {
  return {.checksum = has(features, VIRTIO_NET_F_CSUM),
          .tso4 = has(features, VIRTIO_NET_F_HOST_TSO4),
          .tso6 = has(features, VIRTIO_NET_F_HOST_TSO6),
          .ecn = has(features, VIRTIO_NET_F_HOST_ECN),
          .ufo = has(features, VIRTIO_NET_F_HOST_UFO),
          .uso4 = has(features, VIRTIO_NET_F_HOST_USO),
          .uso6 = has(features, VIRTIO_NET_F_HOST_USO)};
}

Offloads offloads_of_driver(std::uint64_t features) {
  return {.checksum = has(features, VIRTIO_NET_F_GUEST_CSUM),
          .tso4 = has(features, VIRTIO_NET_F_GUEST_TSO4),
          .tso6 = has(features, VIRTIO_NET_F_GUEST_TSO6),
          .ecn = has(features, VIRTIO_NET_F_GUEST_ECN),
          .ufo = has(features, VIRTIO_NET_F_GUEST_UFO),
          .uso4 = has(features, VIRTIO_NET_F_GUEST_USO4),
          .uso6 = has(features, VIRTIO_NET_F_GUEST_USO6)};
}

std::expected<Header, Drop> check_header(const Header& given, const Offloads& agreed, Head head, std::size_t bytes) {
  Header checked{};
  const bool checksum = (given.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
  if (checksum) {
    if (!agreed.checksum) return std::unexpected(Drop::NoOffload);
    if (given.csum_start < kEthernetBytes || std::size_t{given.csum_start} + given.csum_offset + 2 > bytes)
      return std::unexpected(Drop::BadHeader);
    checked.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    checked.csum_start = given.csum_start;
    checked.csum_offset = given.csum_offset;
  }
  if (given.gso_type == VIRTIO_NET_HDR_GSO_NONE) return checked;

  const bool ecn = (given.gso_type & VIRTIO_NET_HDR_GSO_ECN) != 0;
  const auto type = static_cast<std::uint8_t>(given.gso_type & ~VIRTIO_NET_HDR_GSO_ECN);
  const bool tcp = type == VIRTIO_NET_HDR_GSO_TCPV4 || type == VIRTIO_NET_HDR_GSO_TCPV6;
  const bool udp = type == VIRTIO_NET_HDR_GSO_UDP || type == VIRTIO_NET_HDR_GSO_UDP_L4;
  // 5.1.6.2.1: segments have a size, and their checksums are left to who makes them.
  if ((!tcp && !udp) || (udp && ecn) || given.gso_size == 0 || !checksum) return std::unexpected(Drop::BadHeader);
  if (!agreed_on(type, ecn, agreed, head)) return std::unexpected(Drop::NoOffload);
  const auto headers = header_bytes(type, given, head);
  if (!headers || *headers > bytes) return std::unexpected(Drop::BadHeader);
  checked.gso_type = given.gso_type;
  checked.gso_size = given.gso_size;
  checked.hdr_len = static_cast<std::uint16_t>(*headers);
  return checked;
}

void complete_checksum(const Header& header, std::span<std::byte> frame) {
  const std::span<std::byte> covered = frame.subspan(header.csum_start);
  std::uint16_t result = checksum_of(sum_of_words(covered));
  // RFC 768: no checksum at all is what 0 would mean to UDP; of TCP both are the same number.
  if (result == 0) result = 0xffff;
  put_word(covered, header.csum_offset, result);
}

}  // namespace net
