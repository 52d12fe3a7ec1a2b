// The boot CPU's state at the entry of a kernel, with the tables in guest RAM that it points to.
#pragma once

#include <cstdint>

#include "ipc/error.h"
#include "ipc/guest_memory.h"
#include "vcpu-host/boot/boot.h"

namespace vcpu_host {

// Writes the GDT, and for Long64 page tables that map the low 4 GiB to themselves. The general
// registers but rip and rsp are left 0, for the boot protocol to set.
ipc::Result<EntryPoint> prepare_cpu(const ipc::GuestMemory& memory, EntryPoint::Mode mode, std::uint64_t rip);

}  // namespace vcpu_host
