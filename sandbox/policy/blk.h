// What a sealed block back end may ask of the kernel.
#pragma once

#include <linux/io_uring.h>

#include <array>
#include <cstdint>
#include <string_view>

#include "sandbox/seccomp.h"

namespace sandbox {

// Needs Slot::Ring.
extern const Policy kBlkPolicy;

// The same for one that listens by itself, without a monitor. Needs Slot::Ring and Slot::Listener.
extern const Policy kBlkStandalonePolicy;

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
    {IORING_OP_READ, "kick eventfds, and disk reads into one buffer"},
    {IORING_OP_READV, "disk reads into a chain of guest buffers"},
    {IORING_OP_WRITE, "disk writes from one buffer"},
    {IORING_OP_WRITEV, "disk writes from a chain of guest buffers"},
    {IORING_OP_FSYNC, "VIRTIO_BLK_T_FLUSH"},
    {IORING_OP_FALLOCATE, "discard and write-zeroes"},
    {IORING_OP_POLL_ADD, "readiness of the vhost-user and control sockets"},
    {IORING_OP_POLL_REMOVE, "stop waiting for a vring's kick"},
    {IORING_OP_TIMEOUT, "adaptive polling, retries"},
    {IORING_OP_ASYNC_CANCEL, "take back a read of a kick eventfd that is replaced"},
};

// IORING_RESTRICTION_REGISTER_OP.
inline constexpr RingRule kBlkRingRegister[] = {
    {IORING_REGISTER_FILES_UPDATE, "a vring's kick eventfd becomes a fixed file"},
    {IORING_REGISTER_FILES_UPDATE2, "the same, as newer liburing asks for it"},
};

}  // namespace sandbox
