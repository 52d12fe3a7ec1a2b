// The ACPI tables: how the guest learns of CPUs, interrupts, PCI and power without firmware.
#pragma once

#include <cstdint>
#include <span>

#include "ipc/error.h"
#include "ipc/guest_memory.h"

namespace vcpu_host {

// Writes all tables to layout::kAcpiTables, the RSDP first. `cpus` (at most kMaxCpus) have the APIC ids 0 to cpus - 1.
ipc::Result<> write_acpi_tables(const ipc::GuestMemory& memory, std::uint32_t cpus);

// dsdt.asl as iasl compiled it.
std::span<const std::byte> dsdt();

}  // namespace vcpu_host
