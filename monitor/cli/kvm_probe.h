// Can this host's KVM run a kernel that knows nothing of it? Found out by trying.
#pragma once

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace cli {

// Makes a machine of one vCPU and 2 MiB of RAM with `kvm` (/dev/kvm) and runs a small payload at
// privilege level 0 that does what kernels do. Takes milliseconds; a payload that gets no further
// ends after 10 s. An error names what did not work.
ipc::Result<> probe_kernel_mode(const ipc::UniqueFd& kvm);

}  // namespace cli
