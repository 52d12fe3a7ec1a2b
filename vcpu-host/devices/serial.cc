#include "vcpu-host/devices/serial.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "vcpu-host/devices/event.h"

// Register and bit names as in National's PC16550D data sheet.
namespace vcpu_host {
namespace {

constexpr unsigned kData = 0;                     // receiver buffer, transmitter holding; divisor latch, low byte
constexpr unsigned kInterruptEnable = 1;          // divisor latch, high byte
constexpr unsigned kInterruptIdentification = 2;  // FIFO control when written
constexpr unsigned kLineControl = 3;
constexpr unsigned kModemControl = 4;
constexpr unsigned kLineStatus = 5;
constexpr unsigned kModemStatus = 6;
constexpr unsigned kScratch = 7;

constexpr std::uint8_t kReceivedEnable = 0x01;  // IER
constexpr std::uint8_t kTransmitterEnable = 0x02;
constexpr std::uint8_t kLineEnable = 0x04;
constexpr std::uint8_t kModemEnable = 0x08;

constexpr std::uint8_t kFifoEnable = 0x01;  // FCR
constexpr std::uint8_t kFifoClearReceived = 0x02;
constexpr std::uint8_t kFifoTrigger = 0xc0;
constexpr std::uint8_t kFifosEnabled = 0xc0;  // IIR

constexpr std::uint8_t kDivisorLatch = 0x80;  // LCR

constexpr std::uint8_t kDataReady = 0x01;  // LSR
constexpr std::uint8_t kOverrun = 0x02;
constexpr std::uint8_t kHoldingEmpty = 0x20;
constexpr std::uint8_t kTransmitterEmpty = 0x40;

constexpr std::uint8_t kLoopback = 0x10;  // MCR
constexpr std::uint8_t kModemControlMask = 0x1f;

constexpr std::uint8_t kLines = 0xf0;  // MSR: DCD, RI, DSR, CTS; their changes are in the low half
constexpr std::uint8_t kHostLines = 0xb0;
constexpr std::uint8_t kRing = 0x40;
constexpr std::uint8_t kTrailingEdgeRing = 0x04;

}  // namespace

ipc::Result<std::unique_ptr<Serial>> Serial::create(EventLoop& loop, ipc::UniqueFd stream, const ipc::UniqueFd& irq) {
  std::unique_ptr<Serial> serial(new Serial(loop, std::move(stream), irq));
  TRY(loop.watch(serial->stream_, [&device = *serial] { device.stream_ready(); }));
  serial->watched_ = true;
  return serial;
}

Serial::~Serial() {
  if (watched_) loop_.unwatch(stream_);
}

bool Serial::divisor_latch() const {
  return (line_control_ & kDivisorLatch) != 0;
}
bool Serial::loopback() const {
  return (modem_control_ & kLoopback) != 0;
}
bool Serial::fifo_enabled() const {
  return (fifo_control_ & kFifoEnable) != 0;
}

// An access of several bytes is one of each register, as the bus splits it.
void Serial::read(std::uint64_t offset, std::span<std::byte> data) {
  for (std::size_t i = 0; i < data.size(); ++i)
    data[i] = static_cast<std::byte>(read_register(static_cast<unsigned>(offset + i)));
}

void Serial::write(std::uint64_t offset, std::span<const std::byte> data) {
  for (std::size_t i = 0; i < data.size(); ++i)
    write_register(static_cast<unsigned>(offset + i), std::to_integer<std::uint8_t>(data[i]));
}

std::uint8_t Serial::read_register(unsigned number) {
  switch (number) {
    case kData:
      return divisor_latch() ? static_cast<std::uint8_t>(divisor_) : read_received();
    case kInterruptEnable:
      return divisor_latch() ? static_cast<std::uint8_t>(divisor_ >> 8) : interrupt_enable_;
    case kInterruptIdentification: {
      const Cause reported = cause();
      if (reported == Cause::TransmitterEmpty) transmitter_interrupt_ = false;  // reading it is the answer
      update_interrupt();
      return static_cast<std::uint8_t>(static_cast<unsigned>(reported) | (fifo_enabled() ? kFifosEnabled : 0u));
    }
    case kLineControl:
      return line_control_;
    case kModemControl:
      return modem_control_;
    case kLineStatus:
      return read_line_status();
    case kModemStatus: {
      const std::uint8_t status = modem_status_;
      modem_status_ &= kLines;
      update_interrupt();
      return status;
    }
    case kScratch:
      return scratch_;
    default:
      return 0xff;
  }
}

void Serial::write_register(unsigned number, std::uint8_t value) {
  switch (number) {
    case kData:
      if (!divisor_latch()) return transmit(value);
      divisor_ = static_cast<std::uint16_t>((divisor_ & 0xff00) | value);
      return;
    case kInterruptEnable:
      if (!divisor_latch()) return write_interrupt_enable(value);
      divisor_ = static_cast<std::uint16_t>((divisor_ & 0x00ff) | value << 8);
      return;
    case kInterruptIdentification:
      return write_fifo_control(value);
    case kLineControl:
      line_control_ = value;
      return;
    case kModemControl:
      modem_control_ = value & kModemControlMask;
      set_modem_lines();
      watch_stream();
      return;
    case kScratch:
      scratch_ = value;
      return;
    default:
      return;  // line and modem status are read-only
  }
}

std::uint8_t Serial::read_received() {
  if (received_.empty()) return 0;
  const std::uint8_t value = received_.front();
  received_.pop_front();
  update_interrupt();
  watch_stream();  // there is room again
  return value;
}

std::uint8_t Serial::read_line_status() {
  std::uint8_t status = line_errors_;
  if (!received_.empty()) status |= kDataReady;
  // Both at once: the bytes in `output_` have left the chip, and wait on the host's side of the wire.
  if (loopback() || transmitter_has_room()) status |= kHoldingEmpty | kTransmitterEmpty;
  line_errors_ = 0;
  update_interrupt();
  return status;
}

void Serial::write_fifo_control(std::uint8_t value) {
  const bool switches = ((value ^ fifo_control_) & kFifoEnable) != 0;
  if (switches || (value & kFifoClearReceived) != 0) received_.clear();
  fifo_control_ = (value & kFifoEnable) != 0 ? value & (kFifoEnable | kFifoTrigger) : 0;
  update_interrupt();
  watch_stream();
}

void Serial::write_interrupt_enable(std::uint8_t value) {
  const bool asks_for_transmitter = (value & kTransmitterEnable) != 0 && (interrupt_enable_ & kTransmitterEnable) == 0;
  interrupt_enable_ = value & (kReceivedEnable | kTransmitterEnable | kLineEnable | kModemEnable);
  if (asks_for_transmitter && transmitter_has_room()) transmitter_interrupt_ = true;
  update_interrupt();
}

void Serial::transmit(std::uint8_t value) {
  transmitter_interrupt_ = false;
  update_interrupt();
  if (loopback()) {
    receive(value);
  } else if (stream_) {
    if (output_.size() == kOutputBytes) {
      ++dropped_;
    } else {
      output_.push_back(value);
      if (output_.size() == 1) flush();  // else the host is not reading just now
    }
  }
  if (loopback() || transmitter_has_room()) transmitter_interrupt_ = true;
  update_interrupt();
}

void Serial::receive(std::uint8_t value) {
  if (received_.size() < receive_capacity()) {
    received_.push_back(value);
  } else {
    line_errors_ |= kOverrun;
    if (!fifo_enabled()) received_.back() = value;  // the buffer register is overwritten, a FIFO is not
  }
  update_interrupt();
}

// In loopback the modem control outputs are the modem status inputs: DTR is DSR, RTS is CTS, OUT1 is RI, OUT2 is DCD.
void Serial::set_modem_lines() {
  std::uint8_t lines = kHostLines;
  if (loopback()) {
    const unsigned outputs = modem_control_;
    lines =
        static_cast<std::uint8_t>((outputs & 1) << 5 | (outputs & 2) << 3 | (outputs & 4) << 4 | (outputs & 8) << 4);
  }
  const auto before = static_cast<std::uint8_t>(modem_status_ & kLines);
  auto changes = static_cast<std::uint8_t>((before ^ lines) >> 4);
  if ((lines & kRing) != 0) changes &= static_cast<std::uint8_t>(~kTrailingEdgeRing);  // RI counts when it ends
  modem_status_ = static_cast<std::uint8_t>(lines | (modem_status_ & ~kLines) | changes);
  update_interrupt();
}

// In the order of their priority.
Serial::Cause Serial::cause() const {
  if ((interrupt_enable_ & kLineEnable) != 0 && line_errors_ != 0) return Cause::LineStatus;
  if ((interrupt_enable_ & kReceivedEnable) != 0 && !received_.empty()) {
    constexpr std::array<std::size_t, 4> kTriggers{1, 4, 8, 14};
    // Below the trigger level nothing more is on its way: the four characters' time is over at once.
    const bool triggered = !fifo_enabled() || received_.size() >= kTriggers[fifo_control_ >> 6];
    return triggered ? Cause::DataAvailable : Cause::Timeout;
  }
  if ((interrupt_enable_ & kTransmitterEnable) != 0 && transmitter_interrupt_) return Cause::TransmitterEmpty;
  if ((interrupt_enable_ & kModemEnable) != 0 && (modem_status_ & ~kLines) != 0) return Cause::ModemStatus;
  return Cause::None;
}

void Serial::update_interrupt() {
  const bool raised = cause() != Cause::None;
  if (raised && !line_raised_) signal(irq_);
  line_raised_ = raised;
}

void Serial::stream_ready() {
  if (!output_.empty()) flush();
  if (stream_ && !loopback() && !input_ended_) read_stream();
  if (stream_) watch_stream();
}

void Serial::read_stream() {
  std::array<std::uint8_t, kFifoBytes> bytes;
  const std::size_t room = receive_capacity() - std::min(received_.size(), receive_capacity());
  if (room == 0) return;
  const ssize_t count = ::recv(stream_.get(), bytes.data(), room, MSG_DONTWAIT);
  if (count < 0 && errno != EAGAIN && errno != EINTR) return hang_up();
  if (count == 0) input_ended_ = true;  // it may still read
  for (ssize_t i = 0; i < count; ++i) receive(bytes[static_cast<std::size_t>(i)]);
}

void Serial::flush() {
  while (!output_.empty()) {
    std::array<std::uint8_t, 4096> bytes;
    const std::size_t size = std::min(output_.size(), bytes.size());
    std::copy_n(output_.begin(), size, bytes.begin());
    const ssize_t count = ::send(stream_.get(), bytes.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno != EAGAIN) return hang_up();
    if (count < 0) break;
    const bool had_room = transmitter_has_room();
    output_.erase(output_.begin(), output_.begin() + count);
    if (!had_room && transmitter_has_room()) {
      transmitter_interrupt_ = true;
      update_interrupt();
    }
  }
  watch_stream();
  tell_if_drained();
}

void Serial::when_drained(std::function<void()> then) {
  drained_ = std::move(then);
  tell_if_drained();
}

void Serial::tell_if_drained() {
  if (output_.empty() && drained_) std::exchange(drained_, nullptr)();
}

// The host side is gone: from now on nobody types, and what is sent is lost as on an open wire.
void Serial::hang_up() {
  if (watched_) loop_.unwatch(stream_);
  watched_ = false;
  stream_ = ipc::UniqueFd();
  const bool had_room = transmitter_has_room();
  output_.clear();
  if (!had_room) transmitter_interrupt_ = true;
  update_interrupt();
  tell_if_drained();
}

// Watches the stream for what can be done with it now; a stream with nothing to do is not watched at all, as
// a hang-up would be reported again and again.
void Serial::watch_stream() {
  if (!stream_) return;
  const bool readable = !input_ended_ && !loopback() && received_.size() < receive_capacity();
  const bool writable = !output_.empty();
  const bool wanted = readable || writable;
  if (!wanted) {
    if (watched_) loop_.unwatch(stream_);
    watched_ = false;
    return;
  }
  if (!watched_) {
    if (!loop_.watch(stream_, [this] { stream_ready(); })) return hang_up();
    watched_ = watched_readable_ = true;
    watched_writable_ = false;
  }
  if (readable == watched_readable_ && writable == watched_writable_) return;
  if (!loop_.watch_for(stream_, readable, writable)) return hang_up();
  watched_readable_ = readable;
  watched_writable_ = writable;
}

}  // namespace vcpu_host
