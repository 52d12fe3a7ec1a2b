// What a privileged process gives up that goes on to start children.
#pragma once

#include <span>

#include "ipc/error.h"

namespace sandbox {

// Calls that neither it nor any child has a use for, by which root takes a host over or reaches the kernel's rarest
// code. They fail with EPERM from then on.
extern const std::span<const int> kNeverCalled;

// Keeps the capabilities that starting children takes (spawn(), passt), stopping them, reaching sockets of other users,
// and telling what one was killed for; and enters a filter without kNeverCalled. For good, and for whatever it starts
// too: a list of what is allowed would have to hold all that children do before they are sealed.
ipc::Result<> confine_parent();

}  // namespace sandbox
