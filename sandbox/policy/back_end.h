// What the threads of a sealed back end may ask of the kernel, whatever its device is.
#pragma once

#include <linux/io_uring.h>

#include <cstdint>
#include <string_view>

#include "sandbox/seccomp.h"

namespace sandbox {

// Which thread of it.
enum class Role : std::uint8_t {
  Monitored,   // the main thread of a child of bulkhead-monitor; needs Slot::Events, ControlListener
  Standalone,  // the main thread of one that listens by itself; needs Slot::Listener too
  Worker,      // one that serves queues and nothing else
};

// For the process that removes its socket's path at the end. Needs Slot::Directory.
extern const Policy kKeeperPolicy;

// io_uring bypasses seccomp: these go into the ring's own restrictions (IORING_REGISTER_RESTRICTIONS)
// while it is still disabled (IORING_SETUP_R_DISABLED).
struct RingRule {
  std::uint8_t operation;
  std::string_view why;
};

// IORING_RESTRICTION_REGISTER_OP.
inline constexpr RingRule kRingRegister[] = {
    {IORING_REGISTER_FILES_UPDATE, "a vring's kick eventfd becomes a fixed file"},
};

// Beside them, of a ring that keeps guest memory.
inline constexpr RingRule kRingRegisterBuffers[] = {
    {IORING_REGISTER_BUFFERS_UPDATE, "guest memory becomes a registered buffer, or is one no more"},
};

}  // namespace sandbox
