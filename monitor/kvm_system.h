// /dev/kvm as the monitor uses it: system ioctls alone. What it learns it hands out as data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace monitor {

struct KvmSystem {
  ipc::UniqueFd device;
  std::size_t vcpu_mmap_bytes;
  std::uint32_t max_cpus;
  std::vector<std::byte> supported_cpuid;  // array of struct kvm_cpuid_entry2
};

// Opens /dev/kvm. An error says what the host lacks and what to do.
ipc::Result<KvmSystem> open_kvm();

}  // namespace monitor
