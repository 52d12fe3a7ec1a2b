// ELF kernels with the PVH note, of 64 or 32 bits.
#pragma once

#include <cstddef>
#include <span>

#include "ipc/error.h"
#include "vcpu-host/boot/boot.h"
#include "vcpu-host/boot/image_file.h"

namespace vcpu_host {

// Whether `head`, a file's first bytes, has ELF's magic number.
bool is_elf(std::span<const std::byte> head);

// Loads the segments of `kernel`, whose first bytes are `head`, and writes what PVH promises. As load_guest().
ipc::Result<EntryPoint> load_elf(const ipc::GuestMemory& memory, const ImageFile& kernel,
                                 std::span<const std::byte> head, const BootRequest& request);

}  // namespace vcpu_host
