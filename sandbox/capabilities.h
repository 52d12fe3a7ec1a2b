// Giving up what root may do.
#pragma once

#include <cstdint>

#include "ipc/error.h"

namespace sandbox {

// Bits by capability number. From now on this process has at most `kept` of its capabilities, permitted and effective,
// and none that what it executes would inherit. Where it may (CAP_SETPCAP) it takes the others from its bounding set
// too, so that nothing that it starts can have them again.
ipc::Result<> keep_capabilities(std::uint64_t kept);

}  // namespace sandbox
