#include "vcpu-host/boot/memory_map.h"

#include <fmt/format.h>

#include "vcpu-host/layout.h"

namespace vcpu_host {

std::vector<MemoryMapEntry> memory_map(std::uint64_t ram_bytes) {
  using namespace layout;
  constexpr std::uint64_t kTssEnd = kTss + 0x3000;
  std::vector<MemoryMapEntry> map = {
      {0, kBootDataEnd, MemoryType::Usable},
      {kBootDataEnd, kKernelMinimum - kBootDataEnd, MemoryType::Reserved},  // legacy hole, ACPI tables
      {kKernelMinimum, low_ram(ram_bytes).bytes - kKernelMinimum, MemoryType::Usable},
      {kEcam, kEcamBytes, MemoryType::Reserved},
      {kIdentityMap, kTssEnd - kIdentityMap, MemoryType::Reserved},
  };
  const RamRange high = high_ram(ram_bytes);
  if (high.bytes > 0) map.push_back({high.base.value, high.bytes, MemoryType::Usable});
  return map;
}

ipc::Result<> write_guest(const ipc::GuestMemory& memory, std::uint64_t address, std::span<const std::byte> bytes) {
  const auto buffer = memory.slice({address}, bytes.size());
  if (!buffer) return ipc::failure(EINVAL, fmt::format("guest RAM has no {} bytes at {:#x}", bytes.size(), address));
  buffer->copy_from(bytes);
  return {};
}

}  // namespace vcpu_host
