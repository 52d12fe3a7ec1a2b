#include "vcpu-host/devices/acpi_pm.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "vcpu-host/devices/event.h"
#include "vcpu-host/layout.h"

namespace vcpu_host {
namespace {

// Offsets of the registers from layout::kPm1Event.
constexpr std::size_t kStatus = 0;
constexpr std::size_t kEnable = 2;
constexpr std::size_t kControl = layout::kPm1Control - layout::kPm1Event;
constexpr std::size_t kTimer = layout::kPmTimer - layout::kPm1Event;

constexpr std::uint16_t kPowerButton = 1u << 8;  // PWRBTN_STS, PWRBTN_EN
// TMR, GBL, PWRBTN, SLPBTN, RTC, PCIEXP_WAKE: the events that software may enable (table 4.12).
constexpr std::uint16_t kEnableMask = 0x4721;
constexpr std::uint16_t kSciEnabled = 1u << 0;
constexpr std::uint16_t kSleepType = 7u << 10;
constexpr std::uint16_t kSleepEnable = 1u << 13;
constexpr std::uint64_t kTimerHertz = 3'579'545;
constexpr std::uint64_t kSecond = 1'000'000'000;

}  // namespace

std::uint64_t AcpiPm::monotonic_clock() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * kSecond + static_cast<std::uint64_t>(time.tv_nsec);
}

ipc::Result<std::unique_ptr<AcpiPm>> AcpiPm::create(EventLoop& loop, const ipc::UniqueFd& sci,
                                                    const ipc::UniqueFd& resample, std::function<void()> power_off,
                                                    Clock clock) {
  std::unique_ptr<AcpiPm> pm(new AcpiPm(loop, sci, resample, std::move(power_off), std::move(clock)));
  TRY(loop.watch(resample, [&device = *pm] {
    drain(device.resample_);
    device.asserted_ = false;  // the interrupt controller lowered the line with the end of interrupt
    device.update_sci();
  }));
  return pm;
}

AcpiPm::~AcpiPm() {
  loop_.unwatch(resample_);
}

void AcpiPm::press_power_button() {
  status_ |= kPowerButton;
  update_sci();
}

void AcpiPm::update_sci() {
  if (asserted_ || (status_ & enable_) == 0) return;
  asserted_ = true;
  signal(sci_);
}

std::uint32_t AcpiPm::timer() const {
  const std::uint64_t now = clock_();
  return static_cast<std::uint32_t>(now / kSecond * kTimerHertz + now % kSecond * kTimerHertz / kSecond);
}

void AcpiPm::read(std::uint64_t offset, std::span<std::byte> data) {
  std::array<std::byte, kPorts> registers{};
  const auto put = [&](std::size_t at, std::uint32_t value, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) registers[at + i] = static_cast<std::byte>(value >> (8 * i));
  };
  put(kStatus, status_, 2);
  put(kEnable, enable_, 2);
  put(kControl, control_, 2);
  put(kTimer, timer(), 4);
  std::ranges::copy(std::span(registers).subspan(offset, data.size()), data.begin());
}

void AcpiPm::write(std::uint64_t offset, std::span<const std::byte> data) {
  std::uint16_t clear = 0;
  std::uint16_t enable = enable_;
  std::uint16_t control = control_;
  bool control_written = false;
  for (std::size_t i = 0; i < data.size(); ++i) {
    const std::size_t at = offset + i;
    const unsigned shift = 8 * (at % 2);
    const auto byte = static_cast<std::uint16_t>(std::to_integer<unsigned>(data[i]) << shift);
    const auto keep = static_cast<std::uint16_t>(~(0xffu << shift));
    if (at < kEnable) {
      clear |= byte;
    } else if (at < kEnable + 2) {
      enable = static_cast<std::uint16_t>((enable & keep) | byte);
    } else if (at >= kControl && at < kControl + 2) {
      control = static_cast<std::uint16_t>((control & keep) | byte);
      control_written = true;
    }
  }
  status_ &= static_cast<std::uint16_t>(~clear);  // written ones clear (4.8.3.1.1)
  enable_ = enable & kEnableMask;
  if (control_written) write_control(control);
  update_sci();
}

void AcpiPm::write_control(std::uint16_t value) {
  control_ = static_cast<std::uint16_t>((value & kSleepType) | kSciEnabled);  // SLP_EN reads as 0 (4.8.3.2.1)
  const bool enters_s5 = (value & kSleepEnable) != 0 && (value & kSleepType) >> 10 == layout::kSleepTypeS5;
  if (enters_s5) power_off_();
}

}  // namespace vcpu_host
