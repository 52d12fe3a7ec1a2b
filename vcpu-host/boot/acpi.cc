#include "vcpu-host/boot/acpi.h"

#include <cstddef>
#include <cstring>
#include <vector>

#include "vcpu-host/boot/acpi_tables.h"
#include "vcpu-host/boot/boot.h"
#include "vcpu-host/boot/memory_map.h"
#include "vcpu-host/layout.h"

extern "C" const std::byte bulkhead_dsdt_aml[];  // dsdt.S
extern "C" const std::byte bulkhead_dsdt_aml_end[];

namespace vcpu_host {
namespace {

using namespace acpi;

constexpr std::array<char, 6> kOemId = {'B', 'U', 'L', 'K', 'H', 'D'};

// MADT
constexpr std::uint32_t kPcatCompat = 1;  // there are two 8259s, to be masked
constexpr std::uint32_t kProcessorEnabled = 1;
constexpr std::uint32_t kFirstX2ApicId = 255;  // 5.2.12.12: smaller ids have the older structure
constexpr std::uint8_t kIoApicId = 0;
constexpr std::uint8_t kTimerSource = 0;  // the PIT, which is on the I/O APIC's pin 2
constexpr std::uint32_t kTimerGsi = 2;
constexpr std::uint16_t kConforming = 0;
constexpr std::uint16_t kActiveHighLevel = 0x000d;
constexpr std::uint8_t kNmiLint = 1;
constexpr std::uint8_t kAllProcessors = 0xff;
constexpr std::uint32_t kAllX2Processors = 0xffffffff;

// FADT: fixed feature flags (5.2.9, table 5.10). Not set: PWR_BUTTON, so the power button is in PM1.
constexpr std::uint32_t kWbinvd = 1u << 0;
constexpr std::uint32_t kProcC1 = 1u << 2;
constexpr std::uint32_t kSlpButton = 1u << 5;  // no sleep button in PM1
constexpr std::uint32_t kFixRtc = 1u << 6;     // no RTC wake status in PM1
constexpr std::uint32_t kTmrValExt = 1u << 8;
constexpr std::uint32_t kResetRegSup = 1u << 10;
// IA-PC boot architecture flags (table 5.11). Not set: 8042, so that no keyboard is looked for.
constexpr std::uint16_t kLegacyDevices = 1u << 0;
constexpr std::uint16_t kVgaNotPresent = 1u << 2;
constexpr std::uint16_t kNoC2 = 101;         // 5.2.9: a latency above 100 µs says that there is no C2,
constexpr std::uint16_t kNoC3 = 1001;        // above 1000 µs: no C3
constexpr std::uint8_t kCmosCentury = 0x32;  // index in CMOS of the century
constexpr std::uint8_t kResetValue = 6;
constexpr std::uint8_t kServerProfile = 4;  // Enterprise Server
constexpr std::uint8_t kPm1EventBytes = 4;
constexpr std::uint8_t kPm1ControlBytes = 2;
constexpr std::uint8_t kPmTimerBytes = 4;

constexpr GenericAddress io_register(std::uint16_t port, unsigned bits, std::uint8_t access_size) {
  return {.address_space_id = 1,
          .register_bit_width = static_cast<std::uint8_t>(bits),
          .register_bit_offset = 0,
          .access_size = access_size,
          .address = port};
}

std::uint8_t checksum(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (const std::byte byte : bytes) sum += std::to_integer<unsigned>(byte);
  return static_cast<std::uint8_t>(-sum);
}

// The bytes of one table while it grows.
class Table {
 public:
  Table(const Signature& signature, std::uint8_t revision) {
    append(Header{.signature = signature,
                  .length = 0,
                  .revision = revision,
                  .checksum = 0,
                  .oem_id = kOemId,
                  .oem_table_id = {'B', 'U', 'L', 'K', 'H', 'E', 'A', 'D'},
                  .oem_revision = 1,
                  .creator_id = {'B', 'L', 'K', 'H'},
                  .creator_revision = 1});
  }

  template <class T>
  void append(const T& part) {
    const auto bytes = std::as_bytes(std::span(&part, 1));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }

  // The whole table, with its length and checksum.
  std::span<const std::byte> finish() {
    const auto length = static_cast<std::uint32_t>(bytes_.size());
    std::memcpy(bytes_.data() + offsetof(Header, length), &length, sizeof length);
    bytes_[offsetof(Header, checksum)] = std::byte{checksum(bytes_)};
    return bytes_;
  }

 private:
  std::vector<std::byte> bytes_;
};

// A structure that starts with Header and is whole already, without the header.
template <class T>
struct Body {
  std::array<std::byte, sizeof(T) - sizeof(Header)> bytes;
  explicit Body(const T& table) {
    std::memcpy(bytes.data(), reinterpret_cast<const std::byte*>(&table) + sizeof(Header), bytes.size());
  }
};

Table fadt(std::uint32_t facs_address, std::uint32_t dsdt_address) {
  Fadt fadt = {};
  fadt.firmware_ctrl = facs_address;  // X_FIRMWARE_CTRL stays 0: only one of them may be set
  fadt.dsdt = dsdt_address;
  fadt.x_dsdt = dsdt_address;
  fadt.preferred_pm_profile = kServerProfile;
  fadt.sci_int = layout::kSciIrq;
  fadt.pm1a_evt_blk = layout::kPm1Event;  // SMI_CMD is 0: ACPI is always on
  fadt.pm1a_cnt_blk = layout::kPm1Control;
  fadt.pm_tmr_blk = layout::kPmTimer;
  fadt.pm1_evt_len = kPm1EventBytes;
  fadt.pm1_cnt_len = kPm1ControlBytes;
  fadt.pm_tmr_len = kPmTimerBytes;
  fadt.p_lvl2_lat = kNoC2;
  fadt.p_lvl3_lat = kNoC3;
  fadt.century = kCmosCentury;
  fadt.iapc_boot_arch = kLegacyDevices | kVgaNotPresent;
  fadt.flags = kWbinvd | kProcC1 | kSlpButton | kFixRtc | kTmrValExt | kResetRegSup;
  fadt.reset_reg = io_register(layout::kReset, 8, 1);
  fadt.reset_value = kResetValue;
  fadt.x_pm1a_evt_blk = io_register(layout::kPm1Event, 8 * kPm1EventBytes, 2);
  fadt.x_pm1a_cnt_blk = io_register(layout::kPm1Control, 8 * kPm1ControlBytes, 2);
  fadt.x_pm_tmr_blk = io_register(layout::kPmTimer, 8 * kPmTimerBytes, 3);
  Table table({'F', 'A', 'C', 'P'}, 6);
  table.append(Body(fadt));
  return table;
}

Table madt(std::uint32_t cpus) {
  Table table({'A', 'P', 'I', 'C'}, 5);
  table.append(static_cast<std::uint32_t>(layout::kLocalApic));
  table.append(kPcatCompat);
  for (std::uint32_t id = 0; id < cpus && id < kFirstX2ApicId; ++id) {
    const auto narrow = static_cast<std::uint8_t>(id);
    table.append(ProcessorLocalApic{.acpi_processor_uid = narrow, .apic_id = narrow, .flags = kProcessorEnabled});
  }
  for (std::uint32_t id = kFirstX2ApicId; id < cpus; ++id)
    table.append(ProcessorLocalX2Apic{.x2apic_id = id, .flags = kProcessorEnabled, .acpi_processor_uid = id});
  table.append(IoApic{.io_apic_id = kIoApicId,
                      .io_apic_address = static_cast<std::uint32_t>(layout::kIoApic),
                      .global_system_interrupt_base = 0});
  table.append(
      InterruptSourceOverride{.source = kTimerSource, .global_system_interrupt = kTimerGsi, .flags = kConforming});
  table.append(InterruptSourceOverride{
      .source = layout::kSciIrq, .global_system_interrupt = layout::kSciIrq, .flags = kActiveHighLevel});
  table.append(LocalApicNmi{.acpi_processor_uid = kAllProcessors, .flags = kConforming, .local_apic_lint = kNmiLint});
  if (cpus > kFirstX2ApicId)
    table.append(
        LocalX2ApicNmi{.flags = kConforming, .acpi_processor_uid = kAllX2Processors, .local_x2apic_lint = kNmiLint});
  return table;
}

Table mcfg() {
  static_assert(layout::kEcamBytes == 1ull << 20, "1 MiB for each bus, and there is bus 0 alone");
  Mcfg mcfg = {};
  mcfg.base_address = layout::kEcam;
  Table table({'M', 'C', 'F', 'G'}, 1);
  table.append(Body(mcfg));
  return table;
}

Rsdp rsdp(std::uint32_t rsdt_address, std::uint64_t xsdt_address) {
  Rsdp rsdp = {.signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '},
               .checksum = 0,
               .oem_id = kOemId,
               .revision = 2,
               .rsdt_address = rsdt_address,
               .length = sizeof(Rsdp),
               .xsdt_address = xsdt_address,
               .extended_checksum = 0,
               .reserved = {}};
  const auto bytes = std::as_bytes(std::span(&rsdp, 1));
  rsdp.checksum = checksum(bytes.first(20));
  rsdp.extended_checksum = checksum(bytes);
  return rsdp;
}

// Puts one table behind the other.
class Area {
 public:
  explicit Area(const ipc::GuestMemory& memory) : memory_(memory) {}

  // Where it put the table. ENOSPC if the area is full.
  ipc::Result<std::uint32_t> put(std::span<const std::byte> table) {
    constexpr std::uint64_t kAlignment = 64;  // the FACS wants it
    if (table.size() > layout::kAcpiTablesEnd - next_) return ipc::failure(ENOSPC, "no room for the ACPI tables");
    const std::uint64_t address = next_;
    TRY(write_guest(memory_, address, table));
    next_ = (address + table.size() + kAlignment - 1) / kAlignment * kAlignment;
    return static_cast<std::uint32_t>(address);
  }

 private:
  const ipc::GuestMemory& memory_;
  std::uint64_t next_ = layout::kAcpiTables + 64;  // behind the RSDP
};

static_assert(sizeof(Rsdp) <= 64 && layout::kAcpiTables % 64 == 0);
// 1 KiB and a half hold everything but the MADT and the DSDT, 4 KiB the DSDT.
static_assert(kMaxCpus * sizeof(ProcessorLocalX2Apic) + 6 * 1024 < layout::kAcpiTablesEnd - layout::kAcpiTables);

}  // namespace

std::span<const std::byte> dsdt() {
  return {bulkhead_dsdt_aml, bulkhead_dsdt_aml_end};
}

ipc::Result<> write_acpi_tables(const ipc::GuestMemory& memory, std::uint32_t cpus) {
  Area area(memory);
  const Facs facs = {.signature = {'F', 'A', 'C', 'S'},
                     .length = sizeof(Facs),
                     .hardware_signature = 0,
                     .firmware_waking_vector = 0,
                     .global_lock = 0,
                     .flags = 0,
                     .x_firmware_waking_vector = 0,
                     .version = 2,
                     .reserved = {}};
  const std::uint32_t facs_address = TRY(area.put(std::as_bytes(std::span(&facs, 1))));
  const std::uint32_t dsdt_address = TRY(area.put(dsdt()));
  const std::uint32_t tables[] = {TRY(area.put(fadt(facs_address, dsdt_address).finish())),
                                  TRY(area.put(madt(cpus).finish())), TRY(area.put(mcfg().finish()))};
  Table rsdt({'R', 'S', 'D', 'T'}, 1);
  Table xsdt({'X', 'S', 'D', 'T'}, 1);
  for (const std::uint32_t address : tables) {
    rsdt.append(address);
    xsdt.append(std::uint64_t{address});
  }
  const std::uint32_t rsdt_address = TRY(area.put(rsdt.finish()));
  const std::uint32_t xsdt_address = TRY(area.put(xsdt.finish()));
  return write_guest(memory, layout::kAcpiTables, rsdp(rsdt_address, xsdt_address));
}

}  // namespace vcpu_host
