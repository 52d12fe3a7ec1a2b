// One load of a hostile kernel image into a small guest, for the fuzz targets of both formats.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <span>

#include "ipc/guest_memory.h"
#include "ipc/mapping.h"
#include "ipc/unique_fd.h"
#include "vcpu-host/boot/boot.h"
#include "vcpu-host/layout.h"

namespace boot_fuzz {

inline constexpr std::size_t kRamBytes = 32ull << 20;
inline constexpr std::size_t kInitrdBytes = 64 * 1024;

inline ipc::UniqueFd file_of_size(std::size_t bytes) {
  ipc::UniqueFd file(::memfd_create("fuzz", MFD_CLOEXEC));
  if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) std::abort();
  return file;
}

inline ipc::GuestMemory small_ram() {
  ipc::GuestMemory memory;
  auto mapping = ipc::Mapping::of(file_of_size(kRamBytes), 0, kRamBytes, ipc::Access::ReadWrite);
  if (!mapping || !memory.add_region({0}, kRamBytes, std::move(*mapping))) std::abort();
  return memory;
}

// Loads `image`. A kernel that is accepted must start inside RAM, outside of our own tables.
inline void load(std::span<const std::byte> image) {
  static const ipc::GuestMemory memory = small_ram();
  static const ipc::UniqueFd kernel = file_of_size(0);
  static const ipc::UniqueFd initrd = file_of_size(kInitrdBytes);
  if (::ftruncate(kernel.get(), 0) != 0) std::abort();
  if (::pwrite(kernel.get(), image.data(), image.size(), 0) != static_cast<ssize_t>(image.size())) std::abort();
  const auto entry = vcpu_host::load_guest(
      memory, {.ram_bytes = kRamBytes, .cpus = 1, .kernel = kernel, .initrd = &initrd, .cmdline = "console=ttyS0"});
  if (entry && (entry->rip < vcpu_host::layout::kKernelMinimum || entry->rip >= kRamBytes)) std::abort();
}

}  // namespace boot_fuzz
