// ACPI's fixed hardware: PM1 event and control registers, the power-management timer, the SCI
// (ACPI 6.4, 4.8.3).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "vcpu-host/bus.h"
#include "vcpu-host/event_loop.h"

namespace vcpu_host {

class AcpiPm final : public BusDevice {
 public:
  static constexpr std::uint64_t kPorts = 12;  // at layout::kPm1Event: event, control and timer block

  using Clock = std::function<std::uint64_t()>;  // nanoseconds, never going back
  static std::uint64_t monotonic_clock();

  // `sci` and `resample` (borrowed) are the non-blocking eventfds of the level-triggered layout::kSciIrq, see
  // Hypervisor::connect_level_interrupt. `power_off` is called when the guest enters S5.
  static ipc::Result<std::unique_ptr<AcpiPm>> create(EventLoop& loop, const ipc::UniqueFd& sci,
                                                     const ipc::UniqueFd& resample, std::function<void()> power_off,
                                                     Clock clock = monotonic_clock);
  ~AcpiPm() override;
  AcpiPm(const AcpiPm&) = delete;
  AcpiPm& operator=(const AcpiPm&) = delete;

  void press_power_button();

  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  AcpiPm(EventLoop& loop, const ipc::UniqueFd& sci, const ipc::UniqueFd& resample, std::function<void()> power_off,
         Clock clock)
      : loop_(loop), sci_(sci), resample_(resample), power_off_(std::move(power_off)), clock_(std::move(clock)) {}

  std::uint32_t timer() const;
  void write_control(std::uint16_t value);
  void update_sci();

  EventLoop& loop_;
  const ipc::UniqueFd& sci_;
  const ipc::UniqueFd& resample_;
  std::function<void()> power_off_;
  Clock clock_;
  std::uint16_t status_ = 0;
  std::uint16_t enable_ = 0;
  std::uint16_t control_ = 1;  // SCI_EN: there is no other mode
  bool asserted_ = false;      // until the guest's end of interrupt
};

}  // namespace vcpu_host
