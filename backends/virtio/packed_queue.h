// The device's side of a packed virtqueue (virtio 1.2, 2.8). Everything in it is written by a driver
// that may be hostile, at any time, by another processor.
#pragma once

#include <deque>
#include <expected>
#include <optional>
#include <span>
#include <vector>

#include "backends/virtio/packed_inflight_log.h"
#include "backends/virtio/ring.h"
#include "ipc/error.h"

namespace virtio {

class PackedQueue {
 public:
  // A queue of `size` descriptors whose areas lie in `memory`, which must outlive it and not lose their
  // regions. `position` is what position() gave when the ring was stopped; 0x80008000 for a new one. An upper half of 0
  // means what the lower half does, as DPDK sends it. EINVAL for a size that is not 1 to kMaxQueueSize, an area that is
  // misaligned (2.8.10) or not inside one region, a position beyond the ring.
  static ipc::Result<PackedQueue> create(const ipc::GuestMemory& memory, std::uint16_t size,
                                         const RingAddresses& addresses, RingFeatures features, std::uint32_t position);

  // Keeps a log of this ring in `region` from now on, and takes up what a predecessor left in it:
  // next() gives those chains first, in their old order, and goes on behind them. Only before any other
  // call; what create() was told of the position counts only for a new region. Errors: those of
  // PackedInflightLog.
  ipc::Result<> resume(std::span<std::byte> region);

  std::uint16_t size() const { return static_cast<std::uint16_t>(ring_.size()); }
  std::uint16_t in_flight() const { return in_flight_; }
  // Where the ring stands, as SET_VRING_BASE tells it: the next descriptor to take, and above it the
  // next to be used.
  std::uint32_t position() const { return std::uint32_t{used_.encode()} << 16 | available_.encode(); }

  // As of Queue, which see.
  std::expected<std::optional<Head>, RingError> next(Chain& chain);
  void complete(std::uint16_t head, std::uint32_t written) {
    batch_.push_back({head, written});
    --in_flight_;
  }
  void leave(std::uint16_t /*head*/) { --in_flight_; }
  bool publish();
  void suppress_kicks();
  bool request_kicks();

 private:
  struct EventSuppression {  // 2.8.14
    std::uint16_t position;
    std::uint16_t flags;
  };
  // What is known of a chain in flight; Head::index is its place.
  struct Slot {
    std::uint16_t id;     // the driver's buffer id
    std::uint16_t count;  // descriptors that it takes in the ring
    std::uint16_t entry;  // of the log
  };
  struct Completed {
    std::uint16_t slot;
    std::uint32_t written;
  };

  PackedQueue() = default;
  bool available() const;
  // The chain's descriptors from the ring into parts_. False if there is none.
  std::expected<bool, RingError> read_chain();
  std::span<const PackedDescriptor> parts() const { return {parts_.data(), part_count_}; }
  std::uint16_t open_slot(std::uint16_t entry);
  std::expected<void, ChainError> collect(Chain& chain) const;
  std::expected<void, ChainError> collect_indirect(const PackedDescriptor& part, Chain& chain) const;
  void write_used(RingPosition place, const Completed& done);
  bool wants_interrupt(std::uint16_t count) const;

  const ipc::GuestMemory* memory_ = nullptr;
  std::span<PackedDescriptor> ring_;
  std::span<std::uint32_t> driver_events_;  // one: position and flags
  std::span<std::uint16_t> device_events_;  // position, flags
  RingFeatures features_;
  RingPosition available_;       // of the next chain to take
  RingPosition used_;            // of the next used descriptor to write
  std::uint16_t occupied_ = 0;   // descriptors from used_ to available_: taken, and not shown as used
  std::uint16_t in_flight_ = 0;  // chains
  std::uint16_t kicks_ = 0;      // device_events_' flags as written last
  std::vector<Slot> slots_;
  std::vector<std::uint16_t> free_slots_;  // the last used first
  std::vector<PackedDescriptor> parts_;    // as many as the ring has: the chain being taken is at the start
  std::size_t part_count_ = 0;
  std::vector<Completed> batch_;  // completed and not yet published, in order
  std::optional<PackedInflightLog> log_;
  std::vector<std::uint16_t> entries_;        // batch_'s, for log_
  std::deque<PackedInflightLog::Left> left_;  // of a predecessor, that next() has not given yet
};

}  // namespace virtio
