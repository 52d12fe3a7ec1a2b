// What a privileged process gives up that goes on to start children.
#pragma once

#include <cstdint>
#include <span>

#include "ipc/error.h"

namespace sandbox {

// What starting children (spawn(), passt), stopping them, reaching sockets of other users and telling what one was
// killed for take: bits by capability number.
extern const std::uint64_t kParentCapabilities;

// Calls that neither it nor any child has a use for, by which root takes a host over or reaches the kernel's rarest
// code. They fail with EPERM from then on.
extern const std::span<const int> kNeverCalled;

// Keeps kParentCapabilities, and enters a filter without kNeverCalled: for good, and for whatever it starts too. A list
// of what is allowed would have to hold all that children do before they are sealed. Not under BULKHEAD_SANITIZED.
ipc::Result<> confine_parent();

}  // namespace sandbox
