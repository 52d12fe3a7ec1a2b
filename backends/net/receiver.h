// One receive queue (virtio 1.2, 5.1.6.3, 5.1.6.4): frames from links into the guest's buffers.
#pragma once

#include <vector>

#include "backends/net/card.h"
#include "backends/net/sender.h"

namespace net {

class Receiver {
 public:
  // All are borrowed.
  Receiver(Card& card, std::uint16_t pair, telemetry::QueueRecorder recorder)
      : card_(card), pair_(pair), recorder_(recorder) {
    taken_.reserve(virtio::kMaxQueueSize);
  }

  void start(virtio::Vring& ring) { ring_ = &ring; }
  void stop();
  // Gives back what a frame has been begun to be put into, and drops it.
  void let_go();
  // Leaves that to who starts the ring next, see virtio::Device::suspend().
  void leave();
  virtio::Vring* ring() { return ring_; }
  telemetry::QueueRecorder& recorder() { return recorder_; }
  std::size_t in_flight() const { return taken_.size(); }

  // Idle: no link has anything; Blocked: the driver has given too few buffers.
  // `frames` grows by what was handled.
  Progress serve(unsigned budget, std::uint64_t now_ns, std::uint64_t& frames);
  // While Throttled, and while Blocked in the midst of a frame: when to try again.
  std::uint64_t ask_at() const { return ask_at_; }

  // A link is there that was not, or is one no more: what it had given is forgotten.
  void forget_frame();

 private:
  struct Taken {
    std::uint16_t head;
    std::uint32_t written;
  };
  // The next frame that shall reach the guest, in frame_. False: there is none now.
  bool fetch();
  std::expected<void, Drop> judge(Link& link);
  // Puts the frame into the driver's buffers, as far as there are some. True: it is done with.
  bool deliver(std::uint64_t now_ns);
  bool take_buffers();
  void drop(Drop why);
  void write(const virtio::Chain& chain);

  Card& card_;
  const std::uint16_t pair_;
  telemetry::QueueRecorder recorder_;
  virtio::Vring* ring_ = nullptr;
  virtio::Chain chain_;
  std::optional<Incoming> frame_;
  bool admitted_ = false;
  std::uint64_t ask_at_ = 0;
  bool waits_ = false;  // for the rest of the buffers, until ask_at_
  std::size_t next_link_ = 0;
  // Of the frame being delivered: chains that hold parts of it, bytes (its header's among them) that are in them, and
  // where the header's num_buffers went.
  std::vector<Taken> taken_;
  std::size_t delivered_ = 0;
  std::array<ipc::GuestBuffer, sizeof(Header::num_buffers)> num_buffers_;
};

}  // namespace net
