// One direction of a pair of queues, as the thread that serves it sees it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "backends/net/card.h"
#include "backends/telemetry/recorder.h"
#include "backends/virtio/vring.h"
#include "ipc/eventfd.h"

namespace net {

// How a queue stands after its turn.
enum class Progress : std::uint8_t {
  Idle,       // nothing is there
  More,       // its turn is over, there is more
  Blocked,    // where it goes is full
  Throttled,  // a limit holds it back
};

class FrameQueue {
 public:
  // All are borrowed. `pair` is its number.
  FrameQueue(Card& card, std::uint16_t pair, telemetry::QueueRecorder recorder)
      : card_(card), pair_(pair), recorder_(recorder) {}
  FrameQueue(const FrameQueue&) = delete;
  FrameQueue& operator=(const FrameQueue&) = delete;
  virtual ~FrameQueue() = default;

  void start(virtio::Vring& ring) { ring_ = &ring; }
  // Nothing is in flight.
  void stop() {
    forget_link();
    ring_ = nullptr;
  }
  virtio::Vring* ring() { return ring_; }  // while it runs
  telemetry::QueueRecorder& recorder() { return recorder_; }

  // Handles at most `budget` frames, by which `frames` grows. Only while it runs.
  virtual Progress serve(unsigned budget, std::uint64_t now_ns, std::uint64_t& frames) = 0;
  // Then: when it wants its turn again, whatever happens until then.
  const std::optional<std::uint64_t>& ask_at() const { return ask_at_; }
  // Can the driver's next chain be of use, where it stands so?
  virtual bool wants_chains(Progress progress) const = 0;

  virtual std::size_t in_flight() const = 0;
  // Drops what is under way: it is a network.
  virtual void let_go() = 0;
  // Leaves that to who starts the ring next, see virtio::Device::suspend().
  virtual void leave() = 0;
  // The links are about to change.
  virtual void forget_link() { let_go(); }

 protected:
  // May a frame of `bytes` pass now? Otherwise ask_at() tells when to try again.
  bool admit(limits::Direction direction, std::size_t bytes, std::uint64_t now_ns) {
    constexpr std::uint64_t kAskAgain = 100'000'000;  // nanoseconds: limits that were lifted hold no longer than that
    if (card_.limiter == nullptr || !card_.limiter->active()) return true;
    const std::uint64_t wait = card_.limiter->admit(direction, bytes, now_ns);
    if (wait != 0) ask_at_ = now_ns + std::min(wait, kAskAgain);
    return wait == 0;
  }
  void lose_link() {
    card_.link_lost.store(true, std::memory_order_relaxed);
    ipc::signal(card_.attention);
  }
  void passed(std::size_t bytes) {
    recorder_.count(index_of(Counter::Packets));
    recorder_.count(index_of(Counter::Bytes), bytes);
  }

  Card& card_;
  const std::uint16_t pair_;
  telemetry::QueueRecorder recorder_;
  virtio::Vring* ring_ = nullptr;
  std::optional<std::uint64_t> ask_at_;
};

}  // namespace net
