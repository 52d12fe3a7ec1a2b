// The device's side of a split virtqueue (virtio 1.2, 2.7). Everything in it is written by a driver
// that may be hostile, at any time, by another processor.
#pragma once

#include <array>
#include <expected>
#include <optional>
#include <span>

#include "backends/virtio/inflight_log.h"
#include "backends/virtio/ring.h"
#include "ipc/error.h"

namespace virtio {

class SplitQueue {
 public:
  // A queue of `size` entries whose three areas lie in `memory`, which must outlive it and not lose
  // their regions. `next_available` is the free-running index of the first chain to take.
  // EINVAL for a size that is no power of two from 1 to kMaxQueueSize, an area that is misaligned
  // (virtio 1.2, 2.7) or not inside one region.
  static ipc::Result<SplitQueue> create(const ipc::GuestMemory& memory, std::uint16_t size,
                                        const RingAddresses& addresses, RingFeatures features,
                                        std::uint16_t next_available);

  // Keeps `log` of this ring from now on, and takes up what a predecessor left in it: next() gives
  // those chains first, in their old order, and goes on behind them. Only before any other call; what
  // create() was told of the next chain counts no more.
  void resume(InflightLog log);

  std::uint16_t size() const { return size_; }
  std::uint16_t in_flight() const { return in_flight_; }
  // Where the ring stands, as SET_VRING_BASE tells it: the index of the next chain to take.
  std::uint32_t position() const { return next_available_; }

  // As of Queue, which see.
  std::expected<std::optional<Head>, RingError> next(Chain& chain);

  void complete(std::uint16_t head, std::uint32_t written) {
    taken_[head] = false;
    --in_flight_;
    const std::size_t entry = 1 + std::size_t{2} * (used_index_ & (size_ - 1u));
    ipc::store_once(used_[entry], head);
    ipc::store_once(used_[entry + 1], written);
    ++used_index_;
    if (log_) log_->complete(head);
  }
  void leave(std::uint16_t /*head*/) { --in_flight_; }
  bool publish();
  void suppress_kicks();
  bool request_kicks();

 private:
  SplitQueue() = default;
  std::uint16_t load_available_index() const;
  std::expected<std::optional<Head>, RingError> give(std::uint16_t head, Chain& chain);
  std::expected<void, ChainError> collect(std::uint16_t head, Chain& chain) const;

  const ipc::GuestMemory* memory_ = nullptr;
  ipc::GuestBuffer table_;                // size_ descriptors
  std::span<std::uint16_t> available_;    // flags, index, ring[size_], used_event
  std::span<std::uint32_t> used_;         // {flags, index}, ring[size_] of {id, length}
  std::span<std::uint16_t> used_header_;  // flags, index
  std::span<std::uint16_t> used_tail_;    // avail_event; empty without EVENT_IDX
  RingFeatures features_;
  std::uint16_t size_ = 0;
  std::uint16_t next_available_ = 0;
  std::uint16_t used_index_ = 0;       // of the next entry to write
  std::uint16_t published_index_ = 0;  // what the driver was last shown
  std::uint16_t in_flight_ = 0;
  std::array<bool, kMaxQueueSize> taken_{};  // by head
  std::optional<InflightLog> log_;
  std::vector<std::uint16_t> left_;  // heads of a predecessor that next() has not given yet, the first last
};

}  // namespace virtio
