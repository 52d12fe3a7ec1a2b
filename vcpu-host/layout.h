// Where everything is in the machine "q35-lite": the one table that the devices, the ACPI tables and
// the boot loaders agree on. Guest-physical addresses, I/O ports, global system interrupts.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ipc/guest_memory.h"

namespace vcpu_host::layout {

// --- RAM ---------------------------------------------------------------------------------------
inline constexpr std::uint64_t kMib = 1ull << 20;
inline constexpr std::uint64_t kLowRamLimit = 2048 * kMib;  // RAM beyond it continues at kHighRamStart
inline constexpr std::uint64_t kHighRamStart = 4096 * kMib;

struct RamRange {
  ipc::GuestAddress base;
  std::uint64_t bytes;
  std::uint64_t file_offset;  // in the RAM memfd
};

constexpr RamRange low_ram(std::uint64_t total) {
  return {{0}, std::min(total, kLowRamLimit), 0};
}
constexpr RamRange high_ram(std::uint64_t total) {  // of 0 bytes where all RAM fits below
  return {{kHighRamStart}, total - low_ram(total).bytes, low_ram(total).bytes};
}

// Below 1 MiB: usable up to kBootDataEnd, then the legacy hole (plain RAM that the memory map reserves).
inline constexpr std::uint64_t kBootGdt = 0x500;
inline constexpr std::uint64_t kPvhStartInfo = 0x6000;
inline constexpr std::uint64_t kPvhModules = 0x6200;
inline constexpr std::uint64_t kPvhMemoryMap = 0x6400;
inline constexpr std::uint64_t kZeroPage = 0x7000;  // Linux boot_params
inline constexpr std::uint64_t kBootStack = 0x8ff0;
inline constexpr std::uint64_t kPageTables = 0x9000;  // PML4, PDPT, four page directories: 0x6000 bytes
inline constexpr std::uint64_t kCmdline = 0x20000;
inline constexpr std::uint64_t kMaxCmdlineBytes = 2048;  // with its terminating zero
inline constexpr std::uint64_t kBootDataEnd = 0x9fc00;
inline constexpr std::uint64_t kAcpiTables =
    0xe0000;  // RSDP first: where firmware-less guests look (ACPI 6.4, 5.2.5.1)
inline constexpr std::uint64_t kAcpiTablesEnd = 0x100000;
inline constexpr std::uint64_t kKernelMinimum = 0x100000;

// --- MMIO --------------------------------------------------------------------------------------
inline constexpr std::uint64_t kEcam = 0xb0000000;  // PCI Express configuration space, bus 0 alone
inline constexpr std::uint64_t kEcamBytes = 0x100000;
inline constexpr std::uint64_t kPciWindow = 0xc0000000;  // BARs
inline constexpr std::uint64_t kPciWindowEnd = 0xfec00000;
inline constexpr std::uint64_t kIoApic = 0xfec00000;
inline constexpr std::uint64_t kLocalApic = 0xfee00000;
inline constexpr std::uint64_t kIdentityMap =
    0xfeffc000;                                    // one page that Intel's VMX needs (KVM_SET_IDENTITY_MAP_ADDR)
inline constexpr std::uint64_t kTss = 0xfeffd000;  // three more (KVM_SET_TSS_ADDR)

// --- I/O ports ---------------------------------------------------------------------------------
inline constexpr std::uint16_t kKeyboardData = 0x60;  // 8042: only its reset command is there
inline constexpr std::uint16_t kKeyboardCommand = 0x64;
inline constexpr std::uint16_t kCmos = 0x70;         // index, data
inline constexpr std::uint16_t kSerial = 0x3f8;      // COM1, 8 ports
inline constexpr std::uint16_t kPm1Event = 0x600;    // ACPI: status (2), enable (2)
inline constexpr std::uint16_t kPm1Control = 0x604;  // ACPI: control (2)
inline constexpr std::uint16_t kPmTimer = 0x608;     // ACPI: 3.579545 MHz, 32 bits
inline constexpr std::uint16_t kPciAddress = 0xcf8;
inline constexpr std::uint16_t kReset = 0xcf9;  // reset control register, FADT's RESET_REG with value 6
inline constexpr std::uint16_t kPciData = 0xcfc;

inline constexpr std::uint8_t kSleepTypeS5 = 5;  // PM1 control's SLP_TYP, and the package \_S5

// --- Interrupts --------------------------------------------------------------------------------
inline constexpr std::uint32_t kSerialIrq = 4;  // edge
inline constexpr std::uint32_t kRtcIrq = 8;     // edge
inline constexpr std::uint32_t kSciIrq = 9;     // level, active high: MADT has the override
inline constexpr std::uint32_t kIoApicPins = 24;
inline constexpr std::uint32_t kFirstMsiGsi = kIoApicPins;  // GSIs of MSI-X vectors, handed out from here

}  // namespace vcpu_host::layout
