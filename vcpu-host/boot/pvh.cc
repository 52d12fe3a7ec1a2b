#include "vcpu-host/boot/pvh.h"

#include <array>

#include "vcpu-host/boot/cpu_state.h"
#include "vcpu-host/layout.h"

namespace vcpu_host {
namespace {

constexpr std::uint32_t kStartMagic = 0x336ec578;
constexpr std::uint32_t kVersionWithMemoryMap = 1;

struct StartInfo {
  std::uint32_t magic;
  std::uint32_t version;
  std::uint32_t flags;
  std::uint32_t nr_modules;
  std::uint64_t modlist_paddr;
  std::uint64_t cmdline_paddr;
  std::uint64_t rsdp_paddr;
  std::uint64_t memmap_paddr;
  std::uint32_t memmap_entries;
  std::uint32_t reserved;
};
static_assert(sizeof(StartInfo) == 56);

struct ModlistEntry {
  std::uint64_t paddr;
  std::uint64_t size;
  std::uint64_t cmdline_paddr;
  std::uint64_t reserved;
};
static_assert(sizeof(ModlistEntry) == 32);

struct MemmapEntry {
  std::uint64_t addr;
  std::uint64_t size;
  std::uint32_t type;
  std::uint32_t reserved;
};
static_assert(sizeof(MemmapEntry) == 24);

static_assert(layout::kPvhStartInfo + sizeof(StartInfo) <= layout::kPvhModules);
static_assert(layout::kPvhModules + sizeof(ModlistEntry) <= layout::kPvhMemoryMap);
static_assert(layout::kPvhMemoryMap + kMaxMemoryMapEntries * sizeof(MemmapEntry) <= layout::kZeroPage);

}  // namespace

ipc::Result<EntryPoint> prepare_pvh(const ipc::GuestMemory& memory, std::uint64_t ram_bytes, std::uint64_t rip,
                                    AddressRange initrd) {
  std::array<MemmapEntry, kMaxMemoryMapEntries> map = {};
  std::uint32_t entries = 0;
  for (const MemoryMapEntry& entry : memory_map(ram_bytes))
    map.at(entries++) = {entry.base, entry.bytes, static_cast<std::uint32_t>(entry.type), 0};
  TRY(write_guest(memory, layout::kPvhMemoryMap, map));

  StartInfo info = {.magic = kStartMagic,
                    .version = kVersionWithMemoryMap,
                    .flags = 0,
                    .nr_modules = 0,
                    .modlist_paddr = 0,
                    .cmdline_paddr = layout::kCmdline,
                    .rsdp_paddr = layout::kAcpiTables,
                    .memmap_paddr = layout::kPvhMemoryMap,
                    .memmap_entries = entries,
                    .reserved = 0};
  if (initrd.end > initrd.begin) {
    TRY(write_guest(memory, layout::kPvhModules, ModlistEntry{initrd.begin, initrd.end - initrd.begin, 0, 0}));
    info.nr_modules = 1;
    info.modlist_paddr = layout::kPvhModules;
  }
  TRY(write_guest(memory, layout::kPvhStartInfo, info));
  EntryPoint entry = TRY(prepare_cpu(memory, EntryPoint::Mode::Protected32, rip));
  entry.rbx = layout::kPvhStartInfo;
  return entry;
}

}  // namespace vcpu_host
