// The MC146818 real-time clock and its battery-backed RAM, as PCs have it (index and data port).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "vcpu-host/bus.h"
#include "vcpu-host/event_loop.h"

namespace vcpu_host {

class CmosRtc final : public BusDevice {
 public:
  static constexpr std::uint64_t kPorts = 2;  // at layout::kCmos

  using Clock = std::function<std::int64_t()>;  // nanoseconds since the start of 1970, UTC
  static std::int64_t wall_clock();

  // `irq` (borrowed) is an eventfd: each write is one edge of layout::kRtcIrq. `ram_bytes` is what firmware
  // reads as the size of memory. A guest that sets the clock changes its offset from `clock`, nothing else.
  static ipc::Result<std::unique_ptr<CmosRtc>> create(EventLoop& loop, const ipc::UniqueFd& irq,
                                                      std::uint64_t ram_bytes, Clock clock = wall_clock);
  ~CmosRtc() override;
  CmosRtc(const CmosRtc&) = delete;
  CmosRtc& operator=(const CmosRtc&) = delete;

  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  CmosRtc(EventLoop& loop, const ipc::UniqueFd& irq, ipc::UniqueFd timer, Clock clock)
      : loop_(loop), irq_(irq), timer_(std::move(timer)), clock_(std::move(clock)) {}

  void store_memory_size(std::uint64_t ram_bytes);
  std::uint8_t read_byte(unsigned index);
  void write_byte(unsigned index, std::uint8_t value);

  std::int64_t now() const { return clock_() + offset_; }  // the guest's time
  bool held() const;                                       // the time registers don't follow the clock
  bool update_in_progress() const;
  void load_time(std::int64_t seconds);  // into the time registers
  std::int64_t stored_time() const;      // of the time registers
  void change_control(unsigned index, std::uint8_t value);
  unsigned decode(std::uint8_t value) const;  // BCD or binary, as register B says
  std::uint8_t encode(unsigned value) const;
  unsigned decode_hour(std::uint8_t value) const;
  std::uint8_t encode_hour(unsigned hour) const;

  std::int64_t period() const;  // of the periodic interrupt in ns; 0: off
  bool alarm_matches(std::int64_t seconds) const;
  void catch_up();  // sets the flags of what happened since the last call
  void update_interrupt();
  void arm_timer();
  void timer_expired();

  EventLoop& loop_;
  const ipc::UniqueFd& irq_;
  ipc::UniqueFd timer_;
  Clock clock_;
  std::int64_t offset_ = 0;
  std::int64_t last_second_ = 0;  // up to which updates and alarms were seen
  std::int64_t last_period_ = 0;  // the same in periods of the periodic interrupt
  std::uint8_t index_ = 0;
  bool line_raised_ = false;
  std::array<std::uint8_t, 128> bytes_{};  // registers A to D included
};

}  // namespace vcpu_host
