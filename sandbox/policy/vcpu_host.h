// What the threads of a sealed vcpu-host may ask of the kernel.
#pragma once

#include "sandbox/seccomp.h"

namespace sandbox {

// A vCPU thread. Needs Slot::Vcpu (its own) and Slot::ExitEvent (the eventfd by which it tells the event
// loop of an exit). It waits for the answer on a futex, and ends only with the process.
extern const Policy kVcpuPolicy;

// The thread that runs the devices. Needs Slot::Vm.
extern const Policy kEventLoopPolicy;

}  // namespace sandbox
