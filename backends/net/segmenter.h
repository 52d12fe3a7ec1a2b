// Cuts a TCP frame that is longer than the network takes into those that it is meant to be (virtio 1.2, 5.1.6.2:
// gso_type and gso_size), for a driver that has not agreed to do so itself.
#pragma once

#include <optional>
#include <vector>

#include "backends/net/frame.h"
#include "backends/net/link.h"

namespace net {

class Segmenter {
 public:
  // The least segment: of less a peer could make a thousand frames of one.
  static constexpr std::uint16_t kLeastSegment = 64;

  Segmenter() : segment_(kMaxFrame) {}

  // `whole` has a header that check_header() has made, of VIRTIO_NET_HDR_GSO_TCPV4 or TCPV6, and must stay as it is
  // until the last segment was taken. False, and there are no segments, for what cannot be cut: segments below
  // kLeastSegment, IPv6 with extension headers, a frame whose headers say other lengths.
  bool begin(const Incoming& whole);
  // The next one, in memory of this object until the next call, with nothing left to its receiver; nothing when all
  // were taken.
  std::optional<Incoming> next();
  void forget() { left_ = {}; }

 private:
  void finish_ip(std::span<std::byte> segment) const;
  void finish_tcp(std::span<std::byte> segment, bool first, bool last) const;

  std::span<const std::byte> headers_;
  std::span<const std::byte> payload_;
  std::span<const std::byte> left_;  // of payload_
  std::size_t step_ = 0;             // payload of each segment but the last
  std::size_t ip_ = 0;               // where the IP header begins, and TCP's
  std::size_t tcp_ = 0;
  bool ipv6_ = false;
  std::vector<std::byte> segment_;
};

}  // namespace net
