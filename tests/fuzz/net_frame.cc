// A frame and its header as a hostile guest, or a hostile peer, would write them: what leaves the checks keeps their
// promises.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "backends/net/guard.h"
#include "backends/net/offload.h"
#include "backends/net/segmenter.h"

namespace {

constexpr net::EthernetAddress kOwn{{0x52, 0x54, 0, 1, 2, 3}};

void require(bool holds) {
  if (!holds) std::abort();
}

net::Policy policy_of(std::uint8_t choice) {
  net::Policy policy{.own_mac_only = (choice & 1) != 0, .addresses_only = (choice & 2) != 0};
  if (policy.addresses_only) {
    policy.ipv4.push_back(*net::parse_ipv4("10.0.0.0/30"));
    policy.ipv6.push_back(*net::parse_ipv6("fd00::/120"));
  }
  policy.vlan_rule = static_cast<net::VlanRule>((choice >> 2) % 3);
  policy.vlans.set(10);
  return policy;
}

// All of a long frame comes out, in frames that are no longer than was asked for.
void cut(const net::Header& header, std::vector<std::byte>& frame) {
  static net::Segmenter segmenter;
  if (!segmenter.begin({.header = header, .frame = frame})) return;
  std::size_t payload = 0;
  while (const auto segment = segmenter.next()) {
    require(segment->frame.size() > header.hdr_len &&
            segment->frame.size() <= std::size_t{header.hdr_len} + header.gso_size);
    payload += segment->frame.size() - header.hdr_len;
  }
  require(payload <= frame.size() - header.hdr_len);
}

}  // namespace

// Two bytes choose what was agreed and the policy, then header and frame.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 + sizeof(net::Header)) return 0;
  const net::Offloads agreed{.checksum = (data[0] & 1) != 0,
                             .tso4 = (data[0] & 2) != 0,
                             .tso6 = (data[0] & 4) != 0,
                             .ecn = (data[0] & 8) != 0,
                             .ufo = (data[0] & 16) != 0,
                             .uso4 = (data[0] & 32) != 0,
                             .uso6 = (data[0] & 64) != 0};
  const net::Policy policy = policy_of(data[1]);
  net::Header given;
  std::memcpy(&given, data + 2, sizeof given);
  std::vector<std::byte> frame(size - 2 - sizeof given);
  if (!frame.empty()) std::memcpy(frame.data(), data + 2 + sizeof given, frame.size());
  // An own copy, so that a read beyond the head is seen.
  const std::vector<std::byte> head(
      frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(std::min(frame.size(), net::kHeadBytes)));

  if (const auto checked = net::check_header(given, agreed, head, frame.size())) {
    require(checked->num_buffers == 0 && checked->hdr_len <= frame.size());
    require((checked->flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0);
    if (checked->flags != 0) {
      require(agreed.checksum && checked->csum_start + checked->csum_offset + 2u <= frame.size());
      net::complete_checksum(*checked, frame);
    }
    require(checked->gso_type == 0 || (checked->gso_size > 0 && checked->flags != 0 && checked->hdr_len > 0));
    const unsigned type = checked->gso_type & ~unsigned{VIRTIO_NET_HDR_GSO_ECN};
    if (type == VIRTIO_NET_HDR_GSO_TCPV4 || type == VIRTIO_NET_HDR_GSO_TCPV6) cut(*checked, frame);
  }

  net::Guard guard(policy, kOwn, 0);
  const bool leaves = !guard.sent(head, 0);
  const auto parsed = net::parse_frame(head);
  if (parsed) {
    if (leaves && policy.own_mac_only) require(parsed->source == kOwn);
    if (leaves && policy.vlan_rule == net::VlanRule::UntaggedOnly) require(parsed->tags <= 1 && parsed->vlan == 0);
    require(guard.received(*parsed).has_value() == (guard.received(*parsed) == net::Drop::Vlan));
  } else {
    require(!leaves || !policy.guards());
  }
  return 0;
}
