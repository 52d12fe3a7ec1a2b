// A 16550A serial port whose other end is a stream socket of the host.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "vcpu-host/bus.h"
#include "vcpu-host/event_loop.h"

namespace vcpu_host {

class Serial final : public BusDevice {
 public:
  static constexpr std::uint64_t kPorts = 8;  // at layout::kSerial
  static constexpr std::size_t kFifoBytes = 16;
  static constexpr std::size_t kOutputBytes = 64 * 1024;

  // `stream` is a connected SOCK_STREAM socket, which is never waited for. `irq` (borrowed) is an eventfd:
  // each write is one edge of layout::kSerialIrq. What the guest does not read stays in the socket, what the
  // host does not read stays in a buffer of kOutputBytes: when it is full, the transmitter is not empty.
  static ipc::Result<std::unique_ptr<Serial>> create(EventLoop& loop, ipc::UniqueFd stream, const ipc::UniqueFd& irq);
  ~Serial() override;
  Serial(const Serial&) = delete;
  Serial& operator=(const Serial&) = delete;

  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

  // Calls `then` once, as soon as the host has all that the guest wrote, or is gone: maybe at once.
  void when_drained(std::function<void()> then);

  // Bytes that the guest wrote although the transmitter was not empty, and that had no room.
  std::uint64_t dropped() const { return dropped_; }

 private:
  Serial(EventLoop& loop, ipc::UniqueFd stream, const ipc::UniqueFd& irq)
      : loop_(loop), stream_(std::move(stream)), irq_(irq) {}

  enum class Cause : std::uint8_t {
    ModemStatus = 0x0,
    None = 0x1,
    TransmitterEmpty = 0x2,
    DataAvailable = 0x4,
    LineStatus = 0x6,
    Timeout = 0xc
  };

  std::uint8_t read_register(unsigned number);
  void write_register(unsigned number, std::uint8_t value);
  std::uint8_t read_received();
  std::uint8_t read_line_status();
  void write_fifo_control(std::uint8_t value);
  void write_interrupt_enable(std::uint8_t value);
  void transmit(std::uint8_t value);
  void receive(std::uint8_t value);
  void set_modem_lines();

  bool divisor_latch() const;
  bool loopback() const;
  bool fifo_enabled() const;
  std::size_t receive_capacity() const { return fifo_enabled() ? kFifoBytes : 1; }
  bool transmitter_has_room() const { return kOutputBytes - output_.size() >= kFifoBytes; }
  Cause cause() const;
  void update_interrupt();

  void stream_ready();
  void read_stream();
  void flush();
  void hang_up();
  void tell_if_drained();
  void watch_stream();

  EventLoop& loop_;
  ipc::UniqueFd stream_;  // empty once the host side is gone
  const ipc::UniqueFd& irq_;
  bool watched_ = false;
  bool watched_readable_ = true;
  bool watched_writable_ = false;
  bool input_ended_ = false;

  std::deque<std::uint8_t> received_;
  std::deque<std::uint8_t> output_;
  std::function<void()> drained_;  // to be told
  std::uint64_t dropped_ = 0;

  std::uint16_t divisor_ = 12;  // 9600 baud
  std::uint8_t interrupt_enable_ = 0;
  std::uint8_t fifo_control_ = 0;
  std::uint8_t line_control_ = 3;
  std::uint8_t modem_control_ = 0;
  std::uint8_t modem_status_ = 0xb0;  // DCD, DSR, CTS: somebody listens
  std::uint8_t line_errors_ = 0;
  std::uint8_t scratch_ = 0;
  bool transmitter_interrupt_ = false;
  bool line_raised_ = false;
};

}  // namespace vcpu_host
