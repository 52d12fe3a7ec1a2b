// ACPI 6.4: the tables' layout, field names as the specification spells them (5.2).
#pragma once

#include <array>
#include <cstdint>

namespace vcpu_host::acpi {

using Signature = std::array<char, 4>;

// 5.2.3.2. Address spaces: 1 is I/O. Access sizes: 1 byte, 2 word, 3 dword.
struct [[gnu::packed]] GenericAddress {
  std::uint8_t address_space_id;
  std::uint8_t register_bit_width;
  std::uint8_t register_bit_offset;
  std::uint8_t access_size;
  std::uint64_t address;
};
static_assert(sizeof(GenericAddress) == 12);

// 5.2.5.3
struct [[gnu::packed]] Rsdp {
  std::array<char, 8> signature;
  std::uint8_t checksum;  // of the first 20 bytes
  std::array<char, 6> oem_id;
  std::uint8_t revision;
  std::uint32_t rsdt_address;
  std::uint32_t length;
  std::uint64_t xsdt_address;
  std::uint8_t extended_checksum;
  std::array<std::uint8_t, 3> reserved;
};
static_assert(sizeof(Rsdp) == 36);

// 5.2.6
struct [[gnu::packed]] Header {
  Signature signature;
  std::uint32_t length;
  std::uint8_t revision;
  std::uint8_t checksum;
  std::array<char, 6> oem_id;
  std::array<char, 8> oem_table_id;
  std::uint32_t oem_revision;
  std::array<char, 4> creator_id;
  std::uint32_t creator_revision;
};
static_assert(sizeof(Header) == 36);

// 5.2.9, revision 6
struct [[gnu::packed]] Fadt {
  Header header;
  std::uint32_t firmware_ctrl;
  std::uint32_t dsdt;
  std::uint8_t reserved;
  std::uint8_t preferred_pm_profile;
  std::uint16_t sci_int;
  std::uint32_t smi_cmd;
  std::uint8_t acpi_enable;
  std::uint8_t acpi_disable;
  std::uint8_t s4bios_req;
  std::uint8_t pstate_cnt;
  std::uint32_t pm1a_evt_blk;
  std::uint32_t pm1b_evt_blk;
  std::uint32_t pm1a_cnt_blk;
  std::uint32_t pm1b_cnt_blk;
  std::uint32_t pm2_cnt_blk;
  std::uint32_t pm_tmr_blk;
  std::uint32_t gpe0_blk;
  std::uint32_t gpe1_blk;
  std::uint8_t pm1_evt_len;
  std::uint8_t pm1_cnt_len;
  std::uint8_t pm2_cnt_len;
  std::uint8_t pm_tmr_len;
  std::uint8_t gpe0_blk_len;
  std::uint8_t gpe1_blk_len;
  std::uint8_t gpe1_base;
  std::uint8_t cst_cnt;
  std::uint16_t p_lvl2_lat;
  std::uint16_t p_lvl3_lat;
  std::uint16_t flush_size;
  std::uint16_t flush_stride;
  std::uint8_t duty_offset;
  std::uint8_t duty_width;
  std::uint8_t day_alrm;
  std::uint8_t mon_alrm;
  std::uint8_t century;
  std::uint16_t iapc_boot_arch;
  std::uint8_t reserved2;
  std::uint32_t flags;
  GenericAddress reset_reg;
  std::uint8_t reset_value;
  std::uint16_t arm_boot_arch;
  std::uint8_t fadt_minor_version;
  std::uint64_t x_firmware_ctrl;
  std::uint64_t x_dsdt;
  GenericAddress x_pm1a_evt_blk;
  GenericAddress x_pm1b_evt_blk;
  GenericAddress x_pm1a_cnt_blk;
  GenericAddress x_pm1b_cnt_blk;
  GenericAddress x_pm2_cnt_blk;
  GenericAddress x_pm_tmr_blk;
  GenericAddress x_gpe0_blk;
  GenericAddress x_gpe1_blk;
  GenericAddress sleep_control_reg;
  GenericAddress sleep_status_reg;
  std::uint64_t hypervisor_vendor_identity;
};
static_assert(sizeof(Fadt) == 276);

// 5.2.10: no header, no checksum; 64-byte aligned
struct [[gnu::packed]] Facs {
  Signature signature;
  std::uint32_t length;
  std::uint32_t hardware_signature;
  std::uint32_t firmware_waking_vector;
  std::uint32_t global_lock;
  std::uint32_t flags;
  std::uint64_t x_firmware_waking_vector;
  std::uint8_t version;
  std::array<std::uint8_t, 31> reserved;
};
static_assert(sizeof(Facs) == 64);

// 5.2.12
struct [[gnu::packed]] Madt {
  Header header;
  std::uint32_t local_interrupt_controller_address;
  std::uint32_t flags;
};
static_assert(sizeof(Madt) == 44);

struct [[gnu::packed]] ProcessorLocalApic {  // 5.2.12.2
  std::uint8_t type = 0;
  std::uint8_t length = 8;
  std::uint8_t acpi_processor_uid;
  std::uint8_t apic_id;
  std::uint32_t flags;
};
static_assert(sizeof(ProcessorLocalApic) == 8);

struct [[gnu::packed]] IoApic {  // 5.2.12.3
  std::uint8_t type = 1;
  std::uint8_t length = 12;
  std::uint8_t io_apic_id;
  std::uint8_t reserved = 0;
  std::uint32_t io_apic_address;
  std::uint32_t global_system_interrupt_base;
};
static_assert(sizeof(IoApic) == 12);

struct [[gnu::packed]] InterruptSourceOverride {  // 5.2.12.5
  std::uint8_t type = 2;
  std::uint8_t length = 10;
  std::uint8_t bus = 0;
  std::uint8_t source;
  std::uint32_t global_system_interrupt;
  std::uint16_t flags;
};
static_assert(sizeof(InterruptSourceOverride) == 10);

struct [[gnu::packed]] LocalApicNmi {  // 5.2.12.7
  std::uint8_t type = 4;
  std::uint8_t length = 6;
  std::uint8_t acpi_processor_uid;
  std::uint16_t flags;
  std::uint8_t local_apic_lint;
};
static_assert(sizeof(LocalApicNmi) == 6);

struct [[gnu::packed]] ProcessorLocalX2Apic {  // 5.2.12.12
  std::uint8_t type = 9;
  std::uint8_t length = 16;
  std::uint16_t reserved = 0;
  std::uint32_t x2apic_id;
  std::uint32_t flags;
  std::uint32_t acpi_processor_uid;
};
static_assert(sizeof(ProcessorLocalX2Apic) == 16);

struct [[gnu::packed]] LocalX2ApicNmi {  // 5.2.12.13
  std::uint8_t type = 0xa;
  std::uint8_t length = 12;
  std::uint16_t flags;
  std::uint32_t acpi_processor_uid;
  std::uint8_t local_x2apic_lint;
  std::array<std::uint8_t, 3> reserved = {};
};
static_assert(sizeof(LocalX2ApicNmi) == 12);

// PCI Firmware Specification 3.3, 4.1.2
struct [[gnu::packed]] Mcfg {
  Header header;
  std::uint64_t reserved;
  std::uint64_t base_address;
  std::uint16_t pci_segment_group;
  std::uint8_t start_bus;
  std::uint8_t end_bus;
  std::uint32_t reserved2;
};
static_assert(sizeof(Mcfg) == 60);

}  // namespace vcpu_host::acpi
