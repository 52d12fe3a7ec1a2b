// What a sealed network back end may ask of the kernel.
#pragma once

#include "sandbox/policy/back_end.h"

namespace sandbox {

// With `ring` it waits by an io_uring, Slot::Ring; otherwise that is an epoll instance. Frames are moved by calls.
Policy net_policy(Role role, bool ring);

// For the process that connects again where a standalone card's stream has ended.
extern const Policy kRedialPolicy;

// IORING_RESTRICTION_SQE_OP.
inline constexpr RingRule kNetRingOpcodes[] = {
    {IORING_OP_POLL_ADD, "kick eventfds, and readiness of ways out, the vhost-user and control sockets"},
    {IORING_OP_POLL_REMOVE, "stop waiting for a vring's kick, or for a way out that has gone"},
};

}  // namespace sandbox
