// One transmit queue (virtio 1.2, 5.1.6.2): frames from the guest, judged and passed to a link.
#pragma once

#include <array>

#include "backends/net/frame_queue.h"

namespace net {

class Sender final : public FrameQueue {
 public:
  using FrameQueue::FrameQueue;

  Progress serve(unsigned budget, std::uint64_t now_ns, std::uint64_t& frames) override;
  bool wants_chains(Progress progress) const override { return progress == Progress::Idle; }
  std::size_t in_flight() const override { return held_ ? 1 : 0; }
  void let_go() override;
  void leave() override;

 private:
  Link* link() const { return card_.link_up() ? card_.links[pair_ % card_.links.size()].get() : nullptr; }
  // Takes the next chain. Idle: there is none; More: held_ has it, or it was dropped.
  Progress take(std::uint64_t now_ns);
  // The chain as a frame, in frame_ and what it points to.
  std::expected<void, Drop> assemble(std::uint64_t now_ns);
  Progress pass_on(std::uint64_t now_ns);
  void drop(Drop why);
  void finish();

  virtio::Chain chain_;
  std::array<std::byte, kHeadBytes> head_;
  std::array<iovec, kMaxParts> parts_;
  Outgoing frame_{};
  std::optional<std::uint16_t> held_;  // the chain that frame_ is of
  bool admitted_ = false;              // by the limits
};

}  // namespace net
