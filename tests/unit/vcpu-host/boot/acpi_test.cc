// ACPI 6.4 and the PCI Firmware Specification: the tables as a guest finds and reads them.
#include "vcpu-host/boot/acpi.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "tests/support/catch.h"
#include "tests/unit/vcpu-host/boot/images.h"
#include "vcpu-host/boot/acpi_tables.h"

using namespace boot_test;
namespace acpi = vcpu_host::acpi;
namespace layout = vcpu_host::layout;

namespace {

unsigned sum(std::span<const std::byte> bytes) {
  unsigned total = 0;
  for (const std::byte byte : bytes) total += std::to_integer<unsigned>(byte);
  return total & 0xff;
}

// The tables of a guest, found from the RSDP as an operating system does.
struct Tables {
  Ram ram{16 * kMib};
  acpi::Rsdp rsdp;
  std::map<std::string, std::vector<std::byte>> by_signature;
  std::map<std::string, std::uint64_t> address;

  explicit Tables(std::uint32_t cpus) {
    if (!vcpu_host::write_acpi_tables(ram.memory(), cpus)) return;
    rsdp = ram.get<acpi::Rsdp>(layout::kAcpiTables);
    const auto xsdt = add(rsdp.xsdt_address);
    for (std::size_t at = sizeof(acpi::Header); at < xsdt.size(); at += 8)
      add(ram.get<std::uint64_t>(std::uint64_t{rsdp.xsdt_address} + at));
    add(get<acpi::Fadt>("FACP").x_dsdt);
  }

  std::vector<std::byte> add(std::uint64_t at) {
    const auto header = ram.get<acpi::Header>(at);
    const std::string signature(header.signature.data(), header.signature.size());
    address[signature] = at;
    return by_signature[signature] = ram.read(at, header.length);
  }

  template <class T>
  T get(const std::string& signature, std::size_t offset = 0) const {
    T object = {};
    const auto& bytes = by_signature.at(signature);
    if (offset + sizeof object <= bytes.size()) std::memcpy(&object, bytes.data() + offset, sizeof object);
    return object;
  }

  // The MADT's structures of this type.
  template <class T>
  std::vector<T> madt(std::uint8_t type) const {
    std::vector<T> found;
    const auto& bytes = by_signature.at("APIC");
    for (std::size_t at = sizeof(acpi::Madt); at + 2 <= bytes.size();
         at += std::to_integer<std::size_t>(bytes[at + 1])) {
      if (bytes[at] == std::byte{type}) found.push_back(get<T>("APIC", at));
      if (bytes[at + 1] == std::byte{0}) break;
    }
    return found;
  }
};

bool contains(std::span<const std::byte> bytes, std::initializer_list<std::uint32_t> descriptor) {
  std::vector<std::byte> wanted;
  for (const std::uint32_t value : descriptor) wanted.push_back(static_cast<std::byte>(value));
  return std::ranges::search(bytes, wanted).begin() != bytes.end();
}

// ACPI 6.4, 6.4.2.5: I/O port descriptor, 16-bit decode, fixed.
bool has_io(std::uint32_t base, std::uint32_t length) {
  return contains(vcpu_host::dsdt(), {0x47, 0x01, base & 0xff, base >> 8, base & 0xff, base >> 8, 1, length});
}

// 6.4.2.1: IRQ descriptor without flags.
bool has_irq(std::uint32_t irq) {
  const std::uint32_t mask = 1u << irq;
  return contains(vcpu_host::dsdt(), {0x22, mask & 0xff, mask >> 8});
}

}  // namespace

SCENARIO("ACPI: every table is found from the RSDP and its bytes sum up to 0", "[boot][acpi-5.2]") {
  for (const std::uint32_t cpus : {1u, 8u, 255u, 256u, vcpu_host::kMaxCpus}) {
    const Tables tables(cpus);
    INFO(cpus << " CPUs");
    CHECK(std::string(tables.rsdp.signature.data(), 8) == "RSD PTR ");
    CHECK(tables.rsdp.revision == 2);
    CHECK(sum(tables.ram.read(layout::kAcpiTables, 20)) == 0);
    CHECK(sum(tables.ram.read(layout::kAcpiTables, 36)) == 0);
    for (const char* signature : {"XSDT", "FACP", "APIC", "MCFG", "DSDT"}) {
      INFO(signature);
      REQUIRE(tables.by_signature.contains(signature));
      CHECK(sum(tables.by_signature.at(signature)) == 0);
      CHECK(tables.address.at(signature) % 64 == 0);
      CHECK(tables.address.at(signature) + tables.by_signature.at(signature).size() <= layout::kAcpiTablesEnd);
    }
    const auto rsdt = tables.ram.get<acpi::Header>(tables.rsdp.rsdt_address);
    CHECK(std::string(rsdt.signature.data(), 4) == "RSDT");
    CHECK(sum(tables.ram.read(tables.rsdp.rsdt_address, rsdt.length)) == 0);
    for (std::size_t i = 0; i < 3; ++i)
      CHECK(tables.ram.get<std::uint32_t>(std::uint64_t{tables.rsdp.rsdt_address} + sizeof(acpi::Header) + 4 * i) ==
            tables.get<std::uint64_t>("XSDT", sizeof(acpi::Header) + 8 * i));
  }
}

SCENARIO("ACPI: the FADT has the registers where the machine has them", "[boot][acpi-5.2.9]") {
  const Tables tables(1);
  const auto fadt = tables.get<acpi::Fadt>("FACP");
  CHECK(fadt.header.revision == 6);
  CHECK(std::uint16_t{fadt.sci_int} == layout::kSciIrq);
  CHECK(std::uint32_t{fadt.smi_cmd} == 0);
  CHECK(std::uint32_t{fadt.pm1a_evt_blk} == layout::kPm1Event);
  CHECK(std::uint64_t{fadt.x_pm1a_evt_blk.address} == layout::kPm1Event);
  CHECK(fadt.x_pm1a_evt_blk.register_bit_width == 8 * fadt.pm1_evt_len);
  CHECK(std::uint32_t{fadt.pm1a_cnt_blk} == layout::kPm1Control);
  CHECK(std::uint64_t{fadt.x_pm1a_cnt_blk.address} == layout::kPm1Control);
  CHECK(fadt.x_pm1a_cnt_blk.register_bit_width == 8 * fadt.pm1_cnt_len);
  CHECK(std::uint32_t{fadt.pm_tmr_blk} == layout::kPmTimer);
  CHECK(std::uint64_t{fadt.x_pm_tmr_blk.address} == layout::kPmTimer);
  CHECK(fadt.x_pm_tmr_blk.register_bit_width == 8 * fadt.pm_tmr_len);
  CHECK(std::uint64_t{fadt.reset_reg.address} == layout::kReset);
  CHECK(fadt.reset_value == 6);
  CHECK(fadt.century == 0x32);
  const std::uint32_t flags = fadt.flags;
  CHECK((flags & 1u << 4) == 0);          // the power button is a fixed feature
  CHECK((flags & 1u << 5) != 0);          // the sleep button is not
  CHECK((flags & 1u << 8) != 0);          // the timer has 32 bits
  CHECK((flags & 1u << 10) != 0);         // the reset register is there
  CHECK((flags & 1u << 20) == 0);         // not hardware-reduced
  CHECK((fadt.iapc_boot_arch & 2) == 0);  // no 8042
  AND_THEN("the FACS is aligned to 64") {
    CHECK(fadt.firmware_ctrl % 64 == 0);
    CHECK(std::uint64_t{fadt.x_firmware_ctrl} == 0);
    const auto facs = tables.ram.get<acpi::Facs>(fadt.firmware_ctrl);
    CHECK(std::string(facs.signature.data(), 4) == "FACS");
    CHECK(std::uint32_t{facs.length} == 64);
  }
}

SCENARIO("ACPI: the MADT has each CPU, the I/O APIC and the overrides", "[boot][acpi-5.2.12]") {
  GIVEN("4 CPUs") {
    const Tables tables(4);
    CHECK(std::uint32_t{tables.get<acpi::Madt>("APIC").local_interrupt_controller_address} == layout::kLocalApic);
    const auto cpus = tables.madt<acpi::ProcessorLocalApic>(0);
    REQUIRE(cpus.size() == 4);
    for (std::size_t i = 0; i < 4; ++i) {
      CHECK(cpus[i].apic_id == i);
      CHECK(std::uint32_t{cpus[i].flags} == 1);
    }
    CHECK(tables.madt<acpi::ProcessorLocalX2Apic>(9).empty());
    const auto io_apics = tables.madt<acpi::IoApic>(1);
    REQUIRE(io_apics.size() == 1);
    CHECK(std::uint32_t{io_apics[0].io_apic_address} == layout::kIoApic);
    CHECK(std::uint32_t{io_apics[0].global_system_interrupt_base} == 0);
    const auto overrides = tables.madt<acpi::InterruptSourceOverride>(2);
    REQUIRE(overrides.size() == 2);
    CHECK(overrides[0].source == 0);
    CHECK(std::uint32_t{overrides[0].global_system_interrupt} == 2);
    CHECK(overrides[1].source == layout::kSciIrq);
    CHECK(std::uint32_t{overrides[1].global_system_interrupt} == layout::kSciIrq);
    CHECK(std::uint16_t{overrides[1].flags} == 0x0d);  // level, active high
    REQUIRE(tables.madt<acpi::LocalApicNmi>(4).size() == 1);
    CHECK(tables.madt<acpi::LocalApicNmi>(4)[0].local_apic_lint == 1);
  }
  GIVEN("300 CPUs, more than an 8-bit APIC id can tell apart") {
    const Tables tables(300);
    CHECK(tables.madt<acpi::ProcessorLocalApic>(0).size() == 255);
    const auto wide = tables.madt<acpi::ProcessorLocalX2Apic>(9);
    REQUIRE(wide.size() == 45);
    CHECK(std::uint32_t{wide.front().x2apic_id} == 255);
    CHECK(std::uint32_t{wide.back().x2apic_id} == 299);
    CHECK(tables.madt<acpi::LocalX2ApicNmi>(0xa).size() == 1);
  }
}

SCENARIO("ACPI: the MCFG has ECAM for bus 0", "[boot][acpi]") {
  const auto mcfg = Tables(1).get<acpi::Mcfg>("MCFG");
  CHECK(std::uint64_t{mcfg.base_address} == layout::kEcam);
  CHECK(mcfg.start_bus == 0);
  CHECK((mcfg.end_bus + 1u) * kMib == layout::kEcamBytes);
}

SCENARIO("ACPI: the DSDT's numbers are those of layout.h", "[boot][acpi]") {
  CHECK(has_io(layout::kPciAddress, 8));
  CHECK(has_io(layout::kPm1Event, layout::kPmTimer + 4 - layout::kPm1Event));
  CHECK(has_io(layout::kSerial, 8));
  CHECK(has_io(layout::kCmos, 2));
  CHECK(has_irq(layout::kSerialIrq));
  CHECK(has_irq(layout::kRtcIrq));
  const auto byte = [](std::uint64_t value, unsigned index) {
    return static_cast<std::uint32_t>(value >> (8 * index) & 0xff);
  };
  const auto b = layout::kEcam;
  const auto n = layout::kEcamBytes;
  CHECK(contains(vcpu_host::dsdt(), {0x86, 9, 0, 1, byte(b, 0), byte(b, 1), byte(b, 2), byte(b, 3), byte(n, 0),
                                     byte(n, 1), byte(n, 2), byte(n, 3)}));  // 6.4.3.4
  const auto first = layout::kPciWindow;
  const auto last = layout::kPciWindowEnd - 1;
  const auto size = layout::kPciWindowEnd - layout::kPciWindow;
  CHECK(contains(vcpu_host::dsdt(), {byte(first, 0), byte(first, 1), byte(first, 2), byte(first, 3), byte(last, 0),
                                     byte(last, 1), byte(last, 2), byte(last, 3), 0, 0, 0, 0, byte(size, 0),
                                     byte(size, 1), byte(size, 2), byte(size, 3)}));  // 6.4.3.5.2
  // Name (_S5, Package () { SLP_TYP, 0, 0, 0 })
  CHECK(contains(vcpu_host::dsdt(), {0x08, '_', 'S', '5', '_', 0x12, 7, 4, 0x0a, layout::kSleepTypeS5, 0, 0, 0}));
}

SCENARIO("ACPI: iasl reads every table without a complaint", "[boot][acpi]") {
  if (std::system("iasl -v > /dev/null 2>&1") != 0) SKIP_TEST("iasl is not installed");
  char directory[] = "/tmp/bulkhead-acpi-XXXXXX";
  REQUIRE(::mkdtemp(directory) != nullptr);
  const Tables tables(300);
  for (const auto& [signature, bytes] : tables.by_signature) {
    INFO(signature);
    const std::string stem = std::string(directory) + "/" + signature;
    {
      const ipc::UniqueFd file(::open((stem + ".dat").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
      REQUIRE(::write(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    }
    const std::string log = stem + ".log";
    CHECK(std::system(("iasl -vs -d " + stem + ".dat > " + log + " 2>&1").c_str()) == 0);
    CHECK(std::system(("! grep -iqE 'error|warning|invalid|unknown|incorrect|\\*\\*\\*\\*' " + log).c_str()) == 0);
    CHECK(std::system(("! grep -iqE 'invalid|unknown|incorrect' " + stem + ".dsl").c_str()) == 0);
    // What it took apart it can put together again, without a warning.
    CHECK(std::system(("iasl -vs -we " + stem + ".dsl >> " + log + " 2>&1").c_str()) == 0);
    if (signature == "DSDT") CHECK(std::system(("cmp -s " + stem + ".dat " + stem + ".aml").c_str()) == 0);
  }
  std::filesystem::remove_all(directory);
}
