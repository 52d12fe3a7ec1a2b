// What the guest may use of its physical address space, and how this process writes there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "ipc/error.h"
#include "ipc/guest_memory.h"

namespace vcpu_host {

// Types as e820, PVH and ACPI (6.4, table 15.2) number them.
enum class MemoryType : std::uint32_t { Usable = 1, Reserved = 2 };

struct MemoryMapEntry {
  std::uint64_t base;
  std::uint64_t bytes;  // not 0
  MemoryType type;
};

// Sorted, without overlap, at most kMaxMemoryMapEntries.
std::vector<MemoryMapEntry> memory_map(std::uint64_t ram_bytes);
inline constexpr std::size_t kMaxMemoryMapEntries = 8;

// Guest-physical addresses [begin, end).
struct AddressRange {
  std::uint64_t begin;
  std::uint64_t end;
};

// Copies `bytes` to `address`. EINVAL if `memory` has no RAM there.
ipc::Result<> write_guest(const ipc::GuestMemory& memory, std::uint64_t address, std::span<const std::byte> bytes);

template <class T>
  requires std::is_trivially_copyable_v<T>
ipc::Result<> write_guest(const ipc::GuestMemory& memory, std::uint64_t address, const T& object) {
  return write_guest(memory, address, std::as_bytes(std::span(&object, 1)));
}

}  // namespace vcpu_host
