// The initial RAM disk: where it goes, and getting it there.
#pragma once

#include <optional>

#include "ipc/error.h"
#include "vcpu-host/boot/boot.h"
#include "vcpu-host/boot/memory_map.h"

namespace vcpu_host {

// Where `bytes` (not 0) fit as high as possible below `top`, from a page boundary on, above 1 MiB and
// outside of `kernel`: above it or else below it.
std::optional<AddressRange> place_initrd(std::uint64_t bytes, std::uint64_t top, AddressRange kernel);

// Reads request.initrd to where it fits below `top` beside `kernel`; {0, 0} if there is none. ENOSPC if it does not
// fit.
ipc::Result<AddressRange> load_initrd(const ipc::GuestMemory& memory, const BootRequest& request, std::uint64_t top,
                                      AddressRange kernel);

}  // namespace vcpu_host
