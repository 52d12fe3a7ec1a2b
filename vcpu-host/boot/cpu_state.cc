#include "vcpu-host/boot/cpu_state.h"

#include <array>

#include "vcpu-host/boot/memory_map.h"
#include "vcpu-host/layout.h"

namespace vcpu_host {
namespace {

using ipc::Result;
using Mode = EntryPoint::Mode;

// Linux Documentation/arch/x86/boot.rst: __BOOT_CS is 0x10, __BOOT_DS 0x18.
constexpr std::uint16_t kCodeSelector = 0x10;
constexpr std::uint16_t kDataSelector = 0x18;
constexpr std::uint16_t kTaskSelector = 0x20;

constexpr std::uint64_t kCr0ProtectionEnable = 1u << 0;
constexpr std::uint64_t kCr0ExtensionType = 1u << 4;  // hard-wired in every CPU that has long mode
constexpr std::uint64_t kCr0Paging = 1u << 31;
constexpr std::uint64_t kCr4Pae = 1u << 5;
constexpr std::uint64_t kEferLongModeEnable = 1u << 8;
constexpr std::uint64_t kEferLongModeActive = 1u << 10;

constexpr std::uint64_t kPresentWritable = 0x3;
constexpr std::uint64_t kLargePage = 0x80;
constexpr std::size_t kEntries = 512;  // of one page table

constexpr Segment code_segment(Mode mode) {
  const bool long_mode = mode == Mode::Long64;
  return {.selector = kCodeSelector,
          .base = 0,
          .limit = 0xffffffff,
          .type = 0xb,
          .present = true,
          .code_or_data = true,
          .wide = !long_mode,
          .long_mode = long_mode,
          .granularity = true};
}

constexpr Segment kDataSegment = {.selector = kDataSelector,
                                  .base = 0,
                                  .limit = 0xffffffff,
                                  .type = 0x3,
                                  .present = true,
                                  .code_or_data = true,
                                  .wide = true,
                                  .long_mode = false,
                                  .granularity = true};
// PVH wants a task register of base 0 and limit 0x67; it is never switched to.
constexpr Segment kTaskSegment = {.selector = kTaskSelector,
                                  .base = 0,
                                  .limit = 0x67,
                                  .type = 0xb,
                                  .present = true,
                                  .code_or_data = false,
                                  .wide = false,
                                  .long_mode = false,
                                  .granularity = false};

// Intel SDM volume 3, 3.4.5. All bases are 0.
constexpr std::uint64_t descriptor(const Segment& segment) {
  const std::uint64_t limit = segment.granularity ? segment.limit >> 12 : segment.limit;
  return (limit & 0xffff) | static_cast<std::uint64_t>(segment.type) << 40 |
         static_cast<std::uint64_t>(segment.code_or_data) << 44 | static_cast<std::uint64_t>(segment.present) << 47 |
         (limit >> 16 & 0xf) << 48 | static_cast<std::uint64_t>(segment.long_mode) << 53 |
         static_cast<std::uint64_t>(segment.wide) << 54 | static_cast<std::uint64_t>(segment.granularity) << 55;
}

Result<> write_page_tables(const ipc::GuestMemory& memory) {
  constexpr std::size_t kDirectories = 4;  // of 1 GiB each
  constexpr std::uint64_t kPageBytes = 4096;
  std::array<std::uint64_t, kEntries * (2 + kDirectories)> tables = {};
  tables[0] = (layout::kPageTables + kPageBytes) | kPresentWritable;  // PML4
  for (std::size_t i = 0; i < kDirectories; ++i)
    tables[kEntries + i] = (layout::kPageTables + (2 + i) * kPageBytes) | kPresentWritable;  // PDPT
  for (std::uint64_t page = 0; page < kDirectories * kEntries; ++page)
    tables[2 * kEntries + page] = page * (2 * layout::kMib) | kPresentWritable | kLargePage;
  return write_guest(memory, layout::kPageTables, tables);
}

}  // namespace

Result<EntryPoint> prepare_cpu(const ipc::GuestMemory& memory, Mode mode, std::uint64_t rip) {
  const Segment code = code_segment(mode);
  // The task segment's descriptor is 16 bytes long in long mode: base 63:32 follows, which is 0.
  const std::array<std::uint64_t, 6> gdt = {0, 0, descriptor(code), descriptor(kDataSegment), descriptor(kTaskSegment),
                                            0};
  TRY(write_guest(memory, layout::kBootGdt, gdt));
  EntryPoint entry = {.mode = mode,
                      .rip = rip,
                      .rsp = layout::kBootStack,
                      .rbx = 0,
                      .rsi = 0,
                      .cr0 = kCr0ProtectionEnable | kCr0ExtensionType,
                      .cr3 = 0,
                      .cr4 = 0,
                      .efer = 0,
                      .gdt_base = layout::kBootGdt,
                      .gdt_limit = sizeof gdt - 1,
                      .code = code,
                      .data = kDataSegment,
                      .task = kTaskSegment};
  if (mode == Mode::Long64) {
    TRY(write_page_tables(memory));
    entry.cr0 |= kCr0Paging;
    entry.cr3 = layout::kPageTables;
    entry.cr4 = kCr4Pae;
    entry.efer = kEferLongModeEnable | kEferLongModeActive;
  }
  return entry;
}

}  // namespace vcpu_host
