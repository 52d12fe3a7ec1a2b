// One transmit queue (virtio 1.2, 5.1.6.2): frames from the guest, judged and passed to a link.
#pragma once

#include <array>

#include "backends/net/card.h"
#include "backends/telemetry/recorder.h"
#include "backends/virtio/vring.h"

namespace net {

// How a queue stands after its turn.
enum class Progress : std::uint8_t {
  Idle,       // nothing is there
  More,       // its turn is over, there is more
  Blocked,    // the way out is full
  Throttled,  // a limit holds it back
};

class Sender {
 public:
  // All are borrowed.
  Sender(Card& card, std::uint16_t pair, telemetry::QueueRecorder recorder)
      : card_(card), pair_(pair), recorder_(recorder) {}

  void start(virtio::Vring& ring) { ring_ = &ring; }
  void stop();
  // Drops what is held.
  void let_go();
  // Leaves it to who starts the ring next, see virtio::Device::suspend().
  void leave();
  bool running() const { return ring_ != nullptr; }
  virtio::Vring* ring() { return ring_; }
  telemetry::QueueRecorder& recorder() { return recorder_; }
  std::size_t in_flight() const { return held_ ? 1 : 0; }

  // `frames` grows by what was handled.
  Progress serve(unsigned budget, std::uint64_t now_ns, std::uint64_t& frames);
  std::uint64_t ask_at() const { return ask_at_; }  // while Throttled: when to try again

 private:
  // The chain as a frame, in frame_ and what it points to.
  std::expected<void, Drop> assemble(std::uint64_t now_ns);
  Progress pass_on(std::uint64_t now_ns);
  void drop(Drop why);
  void finish(std::uint16_t head);

  Card& card_;
  const std::uint16_t pair_;
  telemetry::QueueRecorder recorder_;
  virtio::Vring* ring_ = nullptr;
  virtio::Chain chain_;
  std::array<std::byte, kHeadBytes> head_;
  std::array<iovec, kMaxParts> parts_;
  Outgoing frame_{};
  std::optional<std::uint16_t> held_;  // the chain that frame_ is of
  bool admitted_ = false;              // by the limits
  std::uint64_t ask_at_ = 0;
};

}  // namespace net
