// What a monitor may ask of the kernel once its machine's spawner does what takes privileges.
#pragma once

#include "sandbox/seccomp.h"

namespace sandbox {

// From before the first child until the end. It needs no slot: what it holds is its own.
extern const Policy kMonitorPolicy;

}  // namespace sandbox
