// Fuzz target: a guest's accesses to the ports of the platform (clock and CMOS, ACPI, reset, keyboard controller, PCI
// configuration) and to the PCI bus's memory, while time passes, and its owner presses the power button.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include "tests/support/fake_hypervisor.h"
#include "vcpu-host/devices/acpi_pm.h"
#include "vcpu-host/devices/cmos_rtc.h"
#include "vcpu-host/devices/event.h"
#include "vcpu-host/devices/pci.h"
#include "vcpu-host/devices/reset.h"

namespace vcpu_host {
namespace {

constexpr std::uint64_t kRamBytes = std::uint64_t{5} << 30;

constexpr std::int64_t kLastTime = std::int64_t{1} << 62;  // in the year 2116

// What a guest's instruction can reach, and nothing more: Bus cuts what leaves a range.
struct Platform {
  EventLoop loop = *EventLoop::create();
  ipc::UniqueFd rtc_line = make_event(), sci = make_event(), resample = make_event();
  std::int64_t time = std::int64_t{1'700'000'000} * 1'000'000'000;  // of both clocks, in ns
  Bus ports, memory;
  ResetControl reset{[] {}};
  KeyboardReset keyboard{[] {}};
  PciFunction function{PciIdentity{.vendor = 0x1af4,
                                   .device = 0x1042,
                                   .revision = 1,
                                   .class_code = 0x010000,
                                   .subsystem_vendor = 0x1af4,
                                   .subsystem = 0x1042}};
  PciBus pci{memory, reset};
  std::unique_ptr<CmosRtc> rtc = *CmosRtc::create(loop, rtc_line, kRamBytes, [this] { return time; });
  std::unique_ptr<AcpiPm> power =
      *AcpiPm::create(loop, sci, resample, [] {}, [this] { return static_cast<std::uint64_t>(time); });

  Platform() {
    const bool built = ports.add(layout::kCmos, CmosRtc::kPorts, *rtc) &&
                       ports.add(layout::kPm1Event, AcpiPm::kPorts, *power) &&
                       ports.add(layout::kKeyboardCommand, 1, keyboard) &&
                       ports.add(layout::kPciAddress, PciBus::kPorts, pci.ports()) &&
                       memory.add(layout::kEcam, layout::kEcamBytes, pci.ecam()) && pci.add(1, function);
    if (!built) std::abort();
  }
};

constexpr std::uint64_t kPlaces[] = {layout::kCmos, layout::kPm1Event, layout::kKeyboardCommand, layout::kPciAddress};

// Four bytes: what is done, where, and with what.
void step(Platform& platform, std::span<const std::uint8_t, 4> bytes) {
  std::array<std::byte, 8> data;
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(bytes[2 + i % 2]);
  const auto access = std::span(data).first(std::size_t{1} << (bytes[0] >> 6));
  const std::uint64_t port = kPlaces[bytes[1] % 4] + (bytes[1] >> 2) % 12;
  const std::uint64_t place = layout::kEcam + (std::uint64_t{bytes[1]} << 8 | bytes[3]);
  switch (bytes[0] % 8) {
    case 0:
    case 1:
      return platform.ports.read(port, access);
    case 2:
    case 3:
      return platform.ports.write(port, access);
    case 4:
      return platform.memory.read(place, access);
    case 5:
      return platform.memory.write(place, access);
    case 6:
      platform.time =
          std::min(platform.time + (std::int64_t{1} << (bytes[1] % 56)), kLastTime);  // up to two years more
      static_cast<void>(platform.loop.run_once(0));
      return;
    default:
      platform.power->press_power_button();
      if (bytes[1] % 2 == 0) signal(platform.resample);
      static_cast<void>(platform.loop.run_once(0));
  }
}

}  // namespace
}  // namespace vcpu_host

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  vcpu_host::Platform platform;
  for (std::size_t i = 0; i + 4 <= size && i < 4096; i += 4)
    vcpu_host::step(platform, std::span<const std::uint8_t, 4>(bytes + i, 4));
  return 0;
}
