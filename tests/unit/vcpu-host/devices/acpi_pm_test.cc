#include "vcpu-host/devices/acpi_pm.h"

#include "tests/support/catch.h"
#include "tests/support/fake_hypervisor.h"
#include "tests/unit/vcpu-host/devices/access.h"
#include "vcpu-host/devices/event.h"

using namespace vcpu_host;

namespace {

constexpr std::uint64_t kStatus = 0;
constexpr std::uint64_t kEnable = 2;
constexpr std::uint64_t kControl = 4;
constexpr std::uint64_t kTimer = 8;
constexpr std::uint16_t kPowerButton = 0x100;

struct Fixture {
  EventLoop loop = *EventLoop::create();
  ipc::UniqueFd sci = make_event();
  ipc::UniqueFd resample = make_event();
  bool powered_off = false;
  std::uint64_t time = 0;
  std::unique_ptr<AcpiPm> pm =
      *AcpiPm::create(loop, sci, resample, [this] { powered_off = true; }, [this] { return time; });

  void end_of_interrupt() {
    signal(resample);
    static_cast<void>(loop.run_once(0));
  }
};

}  // namespace

SCENARIO("acpi: the power button raises the SCI until it is acknowledged", "[acpi-4.8.3.1]") {
  Fixture f;
  f.pm->press_power_button();
  CHECK(get(*f.pm, kStatus, 2) == kPowerButton);
  CHECK(take(f.sci) == 0);  // not enabled yet
  put(*f.pm, kEnable, kPowerButton, 2);
  CHECK(take(f.sci) == 1);
  WHEN("the guest ends the interrupt without clearing the status") {
    f.end_of_interrupt();
    THEN("the line is raised again") {
      CHECK(take(f.sci) == 1);
    }
  }
  WHEN("it writes the status bit first") {
    put(*f.pm, kStatus, kPowerButton, 2);
    CHECK(get(*f.pm, kStatus, 2) == 0);
    f.end_of_interrupt();
    THEN("the line stays low until the next press") {
      CHECK(take(f.sci) == 0);
      f.pm->press_power_button();
      CHECK(take(f.sci) == 1);
    }
  }
}

SCENARIO("acpi: sleep type 5 powers off", "[acpi-4.8.3.2.1]") {
  Fixture f;
  CHECK(get(*f.pm, kControl, 2) == 1);  // SCI_EN
  put(*f.pm, kControl, 3u << 10 | 1u << 13, 2);
  CHECK_FALSE(f.powered_off);
  put(*f.pm, kControl, 5u << 10, 2);
  CHECK_FALSE(f.powered_off);
  WHEN("SLP_EN is set with it") {
    put(*f.pm, kControl, 5u << 10 | 1u << 13, 2);
    THEN("the machine is off, and SLP_EN reads 0") {
      CHECK(f.powered_off);
      CHECK(get(*f.pm, kControl, 2) == (5u << 10 | 1));
    }
  }
  WHEN("it is written as bytes") {
    put(*f.pm, kControl + 1, 0x34);
    THEN("the machine is off") {
      CHECK(f.powered_off);
    }
  }
}

SCENARIO("acpi: the timer runs at 3.579545 MHz and wraps at 32 bits", "[acpi-4.8.3.3]") {
  Fixture f;
  f.time = 1'000'000'000;
  CHECK(get(*f.pm, kTimer, 4) == 3'579'545);
  f.time = 2'000'000'000'000;
  CHECK(get(*f.pm, kTimer, 4) == (2000ull * 3'579'545) % (1ull << 32));
  put(*f.pm, kTimer, 0, 4);
  CHECK(get(*f.pm, kTimer, 4) != 0);
}
