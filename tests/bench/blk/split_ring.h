// The driver's side of a split virtqueue (virtio 1.2, 2.7), as lean as a driver's: chains are written
// once, an offer stores one entry, a batch of offers one index.
#pragma once

#define VIRTIO_RING_NO_LEGACY  // whose part of the header is C alone
#include <linux/virtio_ring.h>

#include <atomic>
#include <optional>

#include "tests/bench/blk/options.h"
#include "tests/bench/blk/slots.h"

namespace bench {

class SplitRing {
 public:
  static constexpr std::uint32_t kFirstBase = 0;  // what SET_VRING_BASE is told

  static std::size_t bytes_of_ram(std::uint16_t size) { return std::size_t{26} * size + 64; }

  // `size` is a power of two that holds all slots' chains: kParts descriptors each, or one if indirect.
  SplitRing(support::GuestRam& ram, const Slots& slots, std::uint16_t size, bool event_idx, bool indirect)
      : descriptors(ram.allocate(std::size_t{16} * size)),
        driver_area(ram.allocate(6 + std::size_t{2} * size, 2)),
        device_area(ram.allocate(6 + std::size_t{8} * size, 4)),
        ram_(ram),
        available_(&ram.object<std::uint16_t>(driver_area)),
        used_(&ram.object<std::uint16_t>(device_area)),
        entries_(&ram.object<vring_used_elem>(device_area + 4)),
        size_(size),
        per_slot_(indirect ? 1 : kParts),
        event_idx_(event_idx) {
    for (std::uint16_t slot = 0; slot < slots.count(); ++slot) write_chain(slots, slot, indirect);
  }

  void offer(std::uint16_t slot, bool write) {
    *data_flags_[slot] = write ? VRING_DESC_F_NEXT : VRING_DESC_F_NEXT | VRING_DESC_F_WRITE;
    available_[2 + next_available_ % size_] = static_cast<std::uint16_t>(slot * per_slot_);
    ++next_available_;
  }
  // Makes available what was offered since the last call. True if the device wants a kick for it.
  bool publish() {
    if (next_available_ == published_) return false;
    const std::uint16_t before = std::exchange(published_, next_available_);
    std::atomic_ref(available_[1]).store(next_available_, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!event_idx_) return (std::atomic_ref(used_[0]).load(std::memory_order_relaxed) & VRING_USED_F_NO_NOTIFY) == 0;
    const std::uint16_t event = std::atomic_ref(used_[2 + 4 * size_]).load(std::memory_order_relaxed);
    return vring_need_event(event, next_available_, before) != 0;
  }
  bool completed() const { return std::atomic_ref(used_[1]).load(std::memory_order_acquire) != next_used_; }
  // The slot that has completed next, after completed() or another take() said that there is one.
  std::uint16_t take() {
    const std::uint32_t head = entries_[next_used_ % size_].id;
    ++next_used_;
    return static_cast<std::uint16_t>(head / per_slot_);
  }
  // Asks for an interrupt at the next completion. True if one came before the wish was seen.
  bool arm() {
    if (event_idx_)
      std::atomic_ref(available_[2 + size_]).store(next_used_, std::memory_order_relaxed);
    else
      std::atomic_ref(available_[0]).store(0, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return completed();
  }
  // With EVENT_IDX the wish ends by itself.
  void disarm() {
    if (!event_idx_) std::atomic_ref(available_[0]).store(VRING_AVAIL_F_NO_INTERRUPT, std::memory_order_relaxed);
  }

  const std::uint64_t descriptors, driver_area, device_area;  // guest addresses

 private:
  void write_chain(const Slots& slots, std::uint16_t slot, bool indirect) {
    const auto first = static_cast<std::uint16_t>(indirect ? 0 : slot * kParts);
    const std::uint64_t table = indirect ? slots.table(slot) : descriptors;
    auto parts = slots.parts(slot);
    for (std::uint16_t i = 0; i < kParts; ++i) {
      if (i + 1 < kParts) {
        parts[i].flags |= support::kNext;
        parts[i].next = static_cast<std::uint16_t>(first + i + 1);
      }
      ram_.object<support::Descriptor>(table + std::uint64_t{16} * (first + i)) = parts[i];
    }
    if (indirect)
      ram_.object<support::Descriptor>(descriptors + std::uint64_t{16} * slot) = {
          table, kParts * sizeof(support::Descriptor), support::kIndirect};
    data_flags_.push_back(&ram_.object<support::Descriptor>(table + std::uint64_t{16} * (first + 1)).flags);
  }

  support::GuestRam& ram_;
  std::uint16_t* available_;  // flags, index, ring, used_event
  std::uint16_t* used_;       // flags, index, ring (four words each), avail_event
  vring_used_elem* entries_;
  std::uint16_t size_;
  std::uint16_t per_slot_;
  bool event_idx_;
  std::vector<std::uint16_t*> data_flags_;  // of each slot's data descriptor
  std::uint16_t next_available_ = 0;
  std::uint16_t published_ = 0;
  std::uint16_t next_used_ = 0;
};

}  // namespace bench
