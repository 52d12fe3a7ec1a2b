// What a sealed block back end may ask of the kernel.
#pragma once

#include <algorithm>
#include <array>

#include "sandbox/policy/back_end.h"

namespace sandbox {

// How it carries out I/O.
enum class BlkIo : std::uint8_t {
  Ring,          // all of it by an io_uring, Slot::Ring
  PinnedRing,    // likewise, and it keeps guest memory
  RingAndCalls,  // the disk's by calls of its own, on Slot::Image and Slot::Unaligned, which may be the same
  Calls,         // likewise, and Slot::Ring is an epoll instance
};

Policy blk_policy(Role role, BlkIo io);

// IORING_RESTRICTION_SQE_OP.
inline constexpr RingRule kBlkRingOpcodes[] = {
    {IORING_OP_READ, "disk reads into one buffer"},
    {IORING_OP_READV, "disk reads into a chain of guest buffers"},
    {IORING_OP_WRITE, "disk writes from one buffer"},
    {IORING_OP_WRITEV, "disk writes from a chain of guest buffers"},
    {IORING_OP_FSYNC, "VIRTIO_BLK_T_FLUSH"},
    {IORING_OP_FALLOCATE, "discard and write-zeroes"},
    {IORING_OP_POLL_ADD, "kick eventfds, and readiness of the vhost-user and control sockets"},
    {IORING_OP_POLL_REMOVE, "stop waiting for a vring's kick"},
};
inline constexpr auto kBlkPinnedRingOpcodes = [] {
  std::array<RingRule, std::size(kBlkRingOpcodes) + 2> all{};
  auto end = std::ranges::copy(kBlkRingOpcodes, all.begin()).out;
  *end++ = {IORING_OP_READ_FIXED, "disk reads into guest memory that the ring keeps"};
  *end++ = {IORING_OP_WRITE_FIXED, "disk writes from guest memory that the ring keeps"};
  return all;
}();

}  // namespace sandbox
