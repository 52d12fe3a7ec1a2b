// The virtio-net header (virtio 1.2, 5.1.6): what is left to the receiver of a frame.
#pragma once

#include <cstdint>
#include <expected>
#include <span>

#include "backends/net/frame.h"
#include "backends/net/linux_virtio_net.h"

namespace net {

// The header has these bytes for every driver of virtio 1.0 and later, with or without mergeable buffers.
using Header = virtio_net_hdr_v1;
inline constexpr std::size_t kHeaderBytes = sizeof(Header);
static_assert(kHeaderBytes == 12);

// What a receiver has agreed to do for a sender.
struct Offloads {
  bool checksum = false;
  bool tso4 = false;
  bool tso6 = false;
  bool ecn = false;
  bool ufo = false;
  bool uso4 = false;
  bool uso6 = false;
  friend bool operator==(const Offloads&, const Offloads&) = default;
};

// Of feature bits that a driver accepted: what it may leave to us, and what we may leave to it.
Offloads offloads_of_device(std::uint64_t features);
Offloads offloads_of_driver(std::uint64_t features);

// Looks at a header that somebody gave who is not trusted, beside the head of its frame of `bytes` bytes. The
// result can be handed to a kernel or a driver: it says nothing that was not agreed, and points nowhere outside of
// the frame. Its hdr_len is computed, as the given one is only a hint (5.1.6.2.1). num_buffers is 0. BadHeader;
// NoOffload for what would be right but was not agreed.
std::expected<Header, Drop> check_header(const Header& given, const Offloads& agreed, Head head, std::size_t bytes);

// Computes what the header leaves to the receiver of a whole frame: one's complement sum from csum_start on, into
// csum_offset (RFC 1071). The header was checked.
void complete_checksum(const Header& header, std::span<std::byte> frame);

}  // namespace net
