// What a sealed block back end may ask of the kernel.
#pragma once

#include <linux/io_uring.h>

#include <array>
#include <cstdint>
#include <string_view>

#include "sandbox/seccomp.h"

namespace sandbox {

// Which thread of it.
enum class BlkRole : std::uint8_t {
  Monitored,   // the main thread of a child of bulkhead-monitor
  Standalone,  // the main thread of one that listens by itself; needs Slot::Listener, Events, ControlListener
  Worker,      // one that serves queues and nothing else
};

// How it carries out I/O.
enum class BlkIo : std::uint8_t {
  Ring,          // all of it by an io_uring, Slot::Ring
  RingAndCalls,  // the disk's by calls of its own, on Slot::Image and Slot::Unaligned, which may be the same
  Calls,         // likewise, and Slot::Ring is an epoll instance
};

Policy blk_policy(BlkRole role, BlkIo io);

// For the process that removes its socket's path at the end. Needs Slot::Directory.
extern const Policy kBlkKeeperPolicy;

// io_uring bypasses seccomp: these go into the ring's own restrictions (IORING_REGISTER_RESTRICTIONS)
// while it is still disabled (IORING_SETUP_R_DISABLED).
struct RingRule {
  std::uint8_t operation;
  std::string_view why;
};

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

// IORING_RESTRICTION_REGISTER_OP.
inline constexpr RingRule kBlkRingRegister[] = {
    {IORING_REGISTER_FILES_UPDATE, "a vring's kick eventfd becomes a fixed file"},
    {IORING_REGISTER_FILES_UPDATE2, "the same, as newer liburing asks for it"},
};

}  // namespace sandbox
