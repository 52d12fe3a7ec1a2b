// Giving up what root may do.
#pragma once

#include <cstdint>

#include "ipc/error.h"
#include "sandbox/identity.h"

namespace sandbox {

// Bits by capability number. From now on this process has at most `kept` of its capabilities, permitted and effective,
// and none that what it executes would inherit. Where it may (CAP_SETPCAP) it takes the others from its bounding set
// too, so that nothing that it starts can have them again.
ipc::Result<> keep_capabilities(std::uint64_t kept);

// From now on this process has no capability, and is that user without a group beside its own; none: it stays who it
// is.
ipc::Result<> take_identity(const std::optional<Identity>& identity);

}  // namespace sandbox
