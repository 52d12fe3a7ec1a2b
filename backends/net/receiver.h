// One receive queue (virtio 1.2, 5.1.6.3, 5.1.6.4): frames from links into the guest's buffers.
#pragma once

#include <array>
#include <vector>

#include "backends/net/frame_queue.h"
#include "backends/net/segmenter.h"

namespace net {

class Receiver final : public FrameQueue {
 public:
  Receiver(Card& card, std::uint16_t pair, telemetry::QueueRecorder recorder) : FrameQueue(card, pair, recorder) {
    taken_.reserve(virtio::kMaxQueueSize);
  }

  Progress serve(unsigned budget, std::uint64_t now_ns, std::uint64_t& frames) override;
  bool wants_chains(Progress progress) const override { return progress == Progress::Blocked; }
  std::size_t in_flight() const override { return taken_.size(); }
  void let_go() override;
  void leave() override;
  // What a link had given is forgotten too: it lies in the link's own memory.
  void forget_link() override {
    segments_.forget();
    let_go();
    forget_frame();
  }

 private:
  struct Taken {
    std::uint16_t head;
    std::uint32_t written;
  };
  // Takes the next frame of the links' that are this queue's. False: there is none now. Otherwise frame_ has it, or it
  // was dropped.
  bool fetch();
  std::expected<void, Drop> judge(Link& link);
  // Puts the frame into the driver's buffers, as far as there are some. True: it is done with.
  bool deliver(std::uint64_t now_ns);
  bool take_buffers();
  void write(const virtio::Chain& chain);
  void drop(Drop why);
  void forget_frame();

  virtio::Chain chain_;
  std::optional<Incoming> frame_;
  Segmenter segments_;                     // what follows it is cut from the frame that it was cut from
  bool admitted_ = false;                  // by the limits
  std::optional<std::uint64_t> patience_;  // until when to wait for the rest of the buffers
  std::size_t next_link_ = 0;              // of those that are ours
  // Of the frame being delivered: chains that hold parts of it, bytes (its header's among them) that are in them, and
  // where the header's num_buffers went.
  std::vector<Taken> taken_;
  std::size_t delivered_ = 0;
  std::array<ipc::GuestBuffer, sizeof(Header::num_buffers)> num_buffers_;
};

}  // namespace net
