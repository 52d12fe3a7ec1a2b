// The PVH boot protocol: what an ELF kernel with XEN_ELFNOTE_PHYS32_ENTRY finds when it starts.
// Xen docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h.
#pragma once

#include <cstdint>

#include "ipc/error.h"
#include "vcpu-host/boot/boot.h"
#include "vcpu-host/boot/memory_map.h"

namespace vcpu_host {

// Writes hvm_start_info, memory map and module list, and prepares the CPU to enter at `rip` (below
// 4 GiB). `initrd` is the only module; none if it is empty.
ipc::Result<EntryPoint> prepare_pvh(const ipc::GuestMemory& memory, std::uint64_t ram_bytes, std::uint64_t rip,
                                    AddressRange initrd);

}  // namespace vcpu_host
