// Linux's bzImage: Documentation/arch/x86/boot.rst of Linux, "the boot protocol".
#pragma once

#include <cstddef>
#include <span>

#include "ipc/error.h"
#include "vcpu-host/boot/boot.h"
#include "vcpu-host/boot/image_file.h"

namespace vcpu_host {

// Whether `head`, a file's first bytes, has both magic numbers of a bzImage.
bool is_bzimage(std::span<const std::byte> head);

// Loads the bzImage `kernel`, whose first bytes are `head`, and fills the zero page. As load_guest().
ipc::Result<EntryPoint> load_bzimage(const ipc::GuestMemory& memory, const ImageFile& kernel,
                                     std::span<const std::byte> head, const BootRequest& request);

}  // namespace vcpu_host
